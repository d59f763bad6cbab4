import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { elementCount, random, useBackend, type Params, type StoredTensor } from '@alignprop/autograd-ext';
import { directory, openSafetensors } from '@alignprop/autograd-ext/weights';
import { ones, tensor } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DoraAxis } from './dora.js';
import {
  applyLora,
  checkWritable,
  loadLora,
  LoraLayer,
  loraTensors,
  removeLora,
  saveLora,
  type LoraFormat,
} from './index.js';

const stored = (shape: readonly number[]): StoredTensor => ({
  shape,
  dtype: 'F32',
  read: async () => random(1).randn(elementCount(shape)),
});

/** A layer with scale 1.5 on a weight `[out, in]` or `[out, in, kh, kw]`. */
function layer(shape: readonly [number, ...number[]], axis?: DoraAxis, r = 2): LoraLayer {
  const [out, ...inputs] = shape;
  const a = [r, ...inputs];
  const b = inputs.length === 3 ? [out, r, 1, 1] : [out, r];
  const magnitude = ones([axis === 'input' ? inputs[0]! : out]);
  return new LoraLayer({
    base: stored(shape),
    loraA: tensor(random(2).randn(elementCount(a)), a),
    loraB: tensor(random(3).randn(elementCount(b)), b),
    scale: 1.5,
    ...(axis && { dora: { magnitude, axis, exactGradient: false } }),
  });
}

const unet = (axis?: DoraAxis) =>
  ({
    conv_in: { weight: layer([8, 4, 3, 3], axis) },
    proj_in: { weight: layer([6, 8, 1, 1], axis) },
    ff: { net: [{ proj: { weight: layer([5, 6], axis) } }] },
  }) as unknown as Params;
const textEncoder = () =>
  ({ self_attn: { q_proj: { weight: layer([4, 4]) } }, mlp: { fc1: { weight: layer([9, 4]) } } }) as unknown as Params;

let folder: string;
beforeAll(async () => {
  await useBackend('cpu');
  folder = await mkdtemp(join(tmpdir(), 'save-lora-'));
});
afterAll(() => rm(folder, { recursive: true }));

const pathOf = (format: LoraFormat) => join(folder, format === 'peft' ? 'peft' : `${format}.safetensors`);

/** Returns the shapes of a written file by key. */
async function shapesOf(format: LoraFormat): Promise<Record<string, readonly number[]>> {
  const file = format === 'peft' ? 'peft/adapter_model.safetensors' : `${format}.safetensors`;
  const { tensors } = await openSafetensors(directory(folder), file);
  return Object.fromEntries([...tensors].map(([key, { shape }]) => [key, shape]));
}

const kernels = { conv_in: [2, 4, 3, 3], proj_in: [2, 8, 1, 1], 'ff.net.0.proj': [2, 6] };
const outputs = { conv_in: [8, 2, 1, 1], proj_in: [6, 2, 1, 1], 'ff.net.0.proj': [5, 2] };
const kohyaNames: Record<string, string> = { 'ff.net.0.proj': 'ff_net_0_proj' };

/** The keys and shapes of A, B and α of `unet()` in each format. */
const expectedShapes = (format: LoraFormat): Record<string, readonly number[]> =>
  Object.fromEntries(
    Object.keys(kernels).flatMap((module) => {
      const [a, b] = [kernels[module as 'conv_in'], outputs[module as 'conv_in']];
      const name = {
        'diffusers-old': `unet.${module}.lora.`,
        diffusers: `unet.${module}.`,
        peft: `base_model.model.${module}.`,
        kohya: `lora_unet_${kohyaNames[module] ?? module}.`,
      }[format];
      const [down, up] = { 'diffusers-old': ['down', 'up'], kohya: ['lora_down', 'lora_up'] }[format as 'kohya'] ?? [
        'lora_A',
        'lora_B',
      ];
      const alpha = format === 'kohya' ? [[`${name}alpha`, []]] : [];
      return [[`${name}${down}.weight`, a], [`${name}${up}.weight`, b], ...alpha];
    }),
  );

/** Returns the values of A, B and m after a file is read and applied. */
async function reread(format: LoraFormat, params: Params): Promise<Record<string, number[]>> {
  const applied = await applyLora(removeLora(params), await loadLora(pathOf(format)));
  return Object.fromEntries(Object.entries(loraTensors(applied)).map(([path, value]) => [path, [...value.dataSync()]]));
}

describe.each(['diffusers-old', 'diffusers', 'peft', 'kohya'] as const)('saveLora in %s', (format) => {
  it('writes convolutions with the shapes that other programs expect', async () => {
    await saveLora(pathOf(format), unet(), { format });
    expect(await shapesOf(format)).toEqual(expectedShapes(format));
    const original = Object.entries(loraTensors(unet())).map(([path, value]) => {
      const factor = format === 'diffusers-old' && path.includes('lora_B') ? 1.5 : 1;
      return [path, [...value.dataSync()].map((x) => Math.fround(x * factor))];
    });
    expect(await reread(format, unet())).toEqual(Object.fromEntries(original));
  });
});

describe('saveLora of DoRA', () => {
  it.each([
    ['diffusers', 'unet.conv_in.lora_magnitude_vector', [1, 8, 1, 1], 'unet.ff.net.0.proj.lora_magnitude_vector', [5]],
    [
      'peft',
      'base_model.model.conv_in.lora_magnitude_vector',
      [1, 8, 1, 1],
      'base_model.model.ff.net.0.proj.lora_magnitude_vector',
      [5],
    ],
    ['kohya', 'lora_unet_conv_in.dora_scale', [8, 1, 1, 1], 'lora_unet_ff_net_0_proj.dora_scale', [5, 1]],
  ] as const)('writes m for %s, which reads it back', async (format, convolution, shape4, matrix, shape2) => {
    await saveLora(pathOf(format), unet('output'), { format });
    const shapes = await shapesOf(format);
    expect([shapes[convolution], shapes[matrix]]).toEqual([shape4, shape2]);
    expect(Object.keys(shapes)).toHaveLength(format === 'kohya' ? 12 : 9);
    expect(Object.keys(await reread(format, unet('output')))).toHaveLength(9);
  });

  it('tells peft and diffusers that all modules are DoRA', async () => {
    await saveLora(pathOf('peft'), unet('output'), { format: 'peft' });
    await saveLora(pathOf('diffusers'), unet('output'), {
      format: 'diffusers',
      others: { text_encoder: textEncoder() },
    });
    const config = JSON.parse(await readFile(join(folder, 'peft/adapter_config.json'), 'utf8')) as object;
    expect(config).toMatchObject({ use_dora: true, target_modules: ['conv_in', 'proj_in', 'ff.net.0.proj'] });
    const { metadata } = await openSafetensors(directory(folder), 'diffusers.safetensors');
    expect(JSON.parse(metadata.lora_adapter_metadata!)).toMatchObject({
      'unet.use_dora': true,
      'text_encoder.use_dora': false,
    });
  });

  it('writes lengths of columns for kohya', async () => {
    await saveLora(pathOf('kohya'), unet('input'), { format: 'kohya' });
    const shapes = await shapesOf('kohya');
    expect(shapes['lora_unet_conv_in.dora_scale']).toEqual([1, 4, 1, 1]);
    expect(shapes['lora_unet_ff_net_0_proj.dora_scale']).toEqual([1, 6]);
  });

  const mixed = () => ({ a: { weight: layer([4, 4], 'output') }, b: { weight: layer([4, 4]) } }) as unknown as Params;
  it.each([
    ['diffusers-old', () => unet('output'), /for DoRA in conv_in .*expected diffusers or peft or kohya/],
    ['diffusers', () => unet('input'), /for DoRA in conv_in with lengths of columns .*expected kohya\./],
    ['peft', () => unet('input'), /for DoRA in conv_in with lengths of columns .*expected kohya\./],
    ['diffusers', mixed, /for DoRA in a beside LoRA in b .*expected kohya\./],
    ['peft', mixed, /for DoRA in a beside LoRA in b .*expected kohya\./],
    ['diffusers-old', mixed, /for DoRA in a .*expected kohya\./],
  ] as const)('refuses in %s what it cannot hold', async (format, params, message) => {
    await expect(saveLora(pathOf(format), params(), { format })).rejects.toThrow(message);
  });
});

describe('saveLora in kohya', () => {
  it('gives all modules one alpha and multiplies B, since diffusers misreads others', async () => {
    const params = {
      a: { weight: layer([4, 4], undefined, 4) },
      b: { weight: layer([4, 4]) },
      c: { weight: layer([4, 4]) },
    } as unknown as Params;
    await saveLora(pathOf('kohya'), params, { format: 'kohya' });
    const { modules } = await loadLora(pathOf('kohya'));
    expect(Object.values(modules).map((adapter) => adapter.kind !== 'merged' && adapter.alpha)).toEqual([3, 3, 3]);
    const values = await reread('kohya', params);
    const original = loraTensors(params);
    for (const [module, factor] of [['a', 2] as const, ['b', 1] as const])
      expect(values[`${module}.lora_B.weight`]).toEqual(
        [...original[`${module}.lora_B.weight`]!.dataSync()].map((value) => Math.fround(value * factor)),
      );
  });
});

describe('saveLora of text encoders', () => {
  it('writes the keys by which diffusers recognises old files', async () => {
    const others = { text_encoder: textEncoder() };
    await saveLora(pathOf('diffusers-old'), unet(), { format: 'diffusers-old', others });
    const keys = Object.keys(await shapesOf('diffusers-old')).filter((key) => key.startsWith('text_encoder'));
    expect(keys).toEqual([
      'text_encoder.mlp.fc1.lora_linear_layer.down.weight',
      'text_encoder.mlp.fc1.lora_linear_layer.up.weight',
      'text_encoder.self_attn.q_proj.lora_linear_layer.down.weight',
      'text_encoder.self_attn.q_proj.lora_linear_layer.up.weight',
    ]);
    const state = await loadLora(pathOf('diffusers-old'), { prefix: 'text_encoder' });
    expect(Object.keys(state.modules).sort()).toEqual(['mlp.fc1', 'self_attn.q_proj']);
  });

  it("writes DoRA's m under the name of its parameter, the only one that transformers knows", async () => {
    const params = { fc1: { weight: layer([9, 4], 'output') } } as unknown as Params;
    await saveLora(pathOf('diffusers'), params, { format: 'diffusers', prefix: 'text_encoder' });
    expect(Object.keys(await shapesOf('diffusers'))).toContain('text_encoder.fc1.lora_magnitude_vector.weight');
    const { modules } = await loadLora(pathOf('diffusers'), { prefix: 'text_encoder' });
    expect(modules.fc1).toMatchObject({ kind: 'dora', alpha: 3 });
  });
});

describe('checkWritable', () => {
  it('names every module that is more than factors', () => {
    const change = { misfit: () => undefined, apply: () => Promise.resolve() };
    const factors = { kind: 'lora', a: ones([2, 4]), b: ones([4, 2]), alpha: 2 } as const;
    const modules = {
      to_q: factors,
      to_k: { kind: 'merged', weight: change },
      to_v: { ...factors, bias: change },
      to_out: { ...factors, baseChange: change },
    } as const;
    expect(() => checkWritable({ modules })).toThrow(
      'to_k is no low-rank adapter (LoRA, LoCon or DoRA), to_v also changes the bias, ' +
        'to_out was made for changed weights',
    );
    expect(() => checkWritable({ modules: { to_q: factors } })).not.toThrow();
  });
});

describe('rank_pattern and alpha_pattern', () => {
  /** Whether peft takes a key of a pattern for a module. */
  const peftMatches = (key: string, module: string): boolean => new RegExp(`^(.*\\.)?(?:${key})$`).test(module);

  it('match no other module, also where one path ends in another', async () => {
    const params = {
      block: { to_q: { weight: layer([4, 4]) }, 'to.q': { weight: layer([4, 4], undefined, 4) } },
      to_q: { weight: layer([4, 4], undefined, 3) },
      other: { to_q: { weight: layer([4, 4], undefined, 5) } },
    } as unknown as Params;
    await saveLora(pathOf('peft'), params, { format: 'peft' });
    const config = JSON.parse(await readFile(join(folder, 'peft/adapter_config.json'), 'utf8')) as {
      r: number;
      rank_pattern: Record<string, number>;
      alpha_pattern: Record<string, number>;
    };
    const ranks = { 'block.to_q': 2, 'block.to.q': 4, to_q: 3, 'other.to_q': 5 };
    expect(config.r).toBe(2);
    for (const [module, r] of Object.entries(ranks)) {
      const [key] = Object.keys(config.rank_pattern).filter((pattern) => peftMatches(pattern, module));
      expect(config.rank_pattern[key!] ?? config.r, module).toBe(r);
      const [alphaKey] = Object.keys(config.alpha_pattern).filter((pattern) => peftMatches(pattern, module));
      expect(config.alpha_pattern[alphaKey!] ?? 3, module).toBe(1.5 * r);
    }
  });
});
