import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { dispose, tidy, matMul, mul, reshape, type Tensor2D } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import type { Params } from '@alignprop/autograd-ext';
import { saveSafetensors } from '@alignprop/autograd-ext/weights';
import { CLIPTextModel, UNet2DConditionModel } from '@alignprop/diffusion';
import { applyLora, loadLora, loraModules, loraTensors, openLora, stateTensors } from '@alignprop/lora';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { fixtureJson, fixturePath } from '../../../../fixtures/index.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { run } from '../program.js';

const printed = captureOutput();
const folder = temporaryFolder();
const path = (name: string): string => join(folder, name);

const model = ['--model', fixturePath('sd15-tiny/model')];
const adapter = fixturePath('lora-r4/trl/pytorch_lora_weights.safetensors');

/** Reads B of the first module. */
async function firstB(file: string): Promise<{ shape: readonly number[]; values: readonly number[] }> {
  const tensors = stateTensors(await loadLora(file));
  const tensor = tensors[
    Object.keys(tensors)
      .filter((key) => key.endsWith('lora_B.weight'))
      .sort()[0]!
  ] as { shape: readonly number[]; read(): Promise<Float32Array> };
  return { shape: tensor.shape, values: [...(await tensor.read())] };
}

describe('alignprop export --mix', () => {
  it('mixes two adapters, or an adapter with the model', async () => {
    const one = await firstB(adapter);
    const mix = (output: string, ...args: string[]) =>
      run(['export', adapter, ...model, '-o', path(output), '--format', 'diffusers-old', ...args]);
    expect(await mix('delta.safetensors', '--mix', adapter, '--mix-coefficient', '0.25')).toBe(0);
    const [out, r] = one.shape as [number, number];
    const delta = await firstB(path('delta.safetensors'));
    expect(delta.shape).toEqual([out, 2 * r]);
    delta.values.forEach((value, i) =>
      expect(value).toBeCloseTo(
        (i % (2 * r) < r ? 0.25 : 0.75) * one.values[Math.floor(i / (2 * r)) * r + (i % r)]!,
        6,
      ),
    );

    expect(await mix('factor.safetensors', '--mix', 'base', '--mix-coefficient', '0.5', '--mix-mode', 'factor')).toBe(
      0,
    );
    const factor = await firstB(path('factor.safetensors'));
    expect(factor.shape).toEqual(one.shape);
    factor.values.forEach((value, i) => expect(value).toBeCloseTo(0.5 * one.values[i]!, 6));
  });

  it('lists the modes when the given one is unknown', async () => {
    expect(
      await run(['export', adapter, ...model, '-o', path('x.safetensors'), '--mix', 'base', '--mix-mode', 'sum']),
    ).not.toBe(0);
    expect(printed.stderr).toMatch(/delta, factor/);
  });
});

const kinds = (name: string): string => fixturePath(`lora-kinds/sd15/${name}`);
const tiny = fixturePath('sd15-tiny/model');
const models: Record<string, () => Promise<{ params: Params }>> = {
  unet: () => UNet2DConditionModel.fromPretrained(tiny, { subfolder: 'unet' }),
  text_encoder: () => CLIPTextModel.fromPretrained(tiny, { subfolder: 'text_encoder' }),
};

/** Returns α/r·B·A of every module of a file, and m where it has one, by the path of the module in the model. */
async function productsOf(location: string): Promise<Record<string, number[]>> {
  const products: Record<string, number[]> = {};
  for (const [part, state] of Object.entries((await openLora(location)).components)) {
    const { params } = await models[part]!();
    const applied = await applyLora(params, state);
    for (const [module, { loraA, loraB, r, scale, dora }] of Object.entries(loraModules(applied))) {
      const product = tidy(() =>
        mul(matMul(reshape(loraB, [-1, r]) as Tensor2D, reshape(loraA, [r, -1]) as Tensor2D), scale).dataSync(),
      );
      products[`${part}.${module}`] = [...product];
      if (dora) products[`${part}.${module} ${dora.axis}`] = [...dora.magnitude.dataSync()];
    }
    dispose(loraTensors(applied));
  }
  return products;
}

const all = ['diffusers-old', 'diffusers', 'peft', 'kohya'] as const;
const pathFor = (format: string): string => path(format === 'peft' ? 'peft' : 'out.safetensors');

describe('alignprop export', () => {
  it.each([
    ['locon.safetensors', all],
    ['locon-cp.safetensors', all],
    ['kohya-proj-other-rank.safetensors', all],
    ['rslora-diffusers.safetensors', all],
    ['te-0.16-only.safetensors', all],
    ['te-flat-linear-layer.safetensors', ['diffusers-old', 'diffusers', 'kohya']],
    ['te1-kohya.safetensors', all],
    ['dora-kohya.safetensors', ['diffusers', 'peft', 'kohya']],
    ['dora-diffusers.safetensors', ['diffusers', 'peft', 'kohya']],
    ['dora-kohya-input-axis.safetensors', ['kohya']],
  ] as const)('writes %s so that it computes the same in %s', async (file, formats) => {
    const expected = await productsOf(kinds(file));
    for (const format of formats) {
      expect(await run(['export', kinds(file), ...model, '-o', pathFor(format), '--format', format])).toBe(0);
      const written = await productsOf(pathFor(format));
      expect(Object.keys(written).sort()).toEqual(Object.keys(expected).sort());
      for (const [module, values] of Object.entries(expected)) {
        const largest = Math.max(...values.map(Math.abs));
        const worst = Math.max(...values.map((value, i) => Math.abs(value - written[module]![i]!)));
        expect(worst, `${format} ${module}`).toBeLessThanOrEqual(1e-6 * largest);
      }
    }
  });

  it.each([
    ['dora-kohya.safetensors', 'diffusers-old', /for DoRA in .* expected diffusers or peft or kohya/],
    ['dora-kohya-input-axis.safetensors', 'peft', /with lengths of columns .* expected kohya/],
    ['te-flat.safetensors', 'peft', /for several parts of a pipeline/],
    ['loha.safetensors', 'kohya', /no format can hold .*loha.*: .* is no low-rank adapter/],
    ['lokr-full.safetensors', 'kohya', /is no low-rank adapter/],
    ['ia3-lycoris.safetensors', 'kohya', /is no low-rank adapter/],
    ['full-diff.safetensors', 'kohya', /is no low-rank adapter/],
    ['nan.safetensors', 'kohya', /NaN/],
    ['inf.safetensors', 'kohya', /Infinity/i],
  ] as const)('refuses %s in %s and writes nothing', async (file, format, message) => {
    const args = ['-o', format === 'peft' ? path('refused') : path('refused.safetensors'), '--format', format];
    expect(await run(['export', kinds(file), ...model, ...args])).toBe(1);
    expect(printed.stderr).toMatch(message);
    expect(readdirSync(folder).filter((name) => name.startsWith('refused'))).toEqual([]);
  });

  it.each([
    ['loha.safetensors', /mixLora: cannot mix .* is no low-rank adapter/],
    ['dora-kohya.safetensors', /mixLora: cannot mix .* is DoRA/],
    ['nan.safetensors', /NaN/],
  ])('refuses to mix in %s', async (file, message) => {
    const args = ['-o', path('refused.safetensors'), '--mix', kinds(file)];
    expect(await run(['export', kinds('locon.safetensors'), ...model, ...args])).toBe(1);
    expect(printed.stderr).toMatch(message);
  });

  it('mixes convolutions, and a text encoder that only the second adapter has', async () => {
    const files = [kinds('locon.safetensors'), kinds('te1-kohya.safetensors')] as const;
    const args = ['-o', path('mixed.safetensors'), '--mix', files[1], '--mix-coefficient', '0.25'];
    expect(await run(['export', files[0], ...model, ...args])).toBe(0);
    const [first, second] = [await productsOf(files[0]), await productsOf(files[1])];
    const mixed = await productsOf(path('mixed.safetensors'));
    expect(Object.keys(mixed).sort()).toEqual(Object.keys({ ...first, ...second }).sort());
    const [convolution, text] = [
      Object.keys(first).find((module) => module.includes('.conv1'))!,
      Object.keys(second)[0]!,
    ];
    mixed[convolution]!.forEach((value, i) => expect(value).toBeCloseTo(0.25 * first[convolution]![i]!, 5));
    mixed[text]!.forEach((value, i) => expect(value).toBeCloseTo(0.75 * second[text]![i]!, 5));
  });

  it('warns of embeddings that it does not write', async () => {
    expect(await run(['export', kinds('bundle-emb.safetensors'), ...model, '-o', path('bundled.safetensors')])).toBe(0);
    expect(printed.stderr).toMatch(/warning: the embeddings bundled in .*bundle-emb\.safetensors are not written: \S/);
  });

  it('refuses a part of a pipeline that the model does not have', async () => {
    const data = { dtype: 'F32', shape: [1, 1], data: new Float32Array(1) } as const;
    const refusal = async (part: string) => {
      const key = `${part}.text_model.encoder.layers.0.self_attn.q_proj`;
      const tensors = { [`${key}.lora_A.weight`]: data, [`${key}.lora_B.weight`]: data };
      await saveSafetensors(path('xl.safetensors'), tensors, {});
      expect(await run(['export', path('xl.safetensors'), ...model, '-o', path('refused.safetensors')])).toBe(1);
      return printed.stderr;
    };
    expect(await refusal('text_encoder_2')).toMatch(/the adapter changes text_encoder_2, which '.*' does not have/);
    expect(await refusal('text_encoder_3')).toMatch(/changes text_encoder_3, expected unet or text_encoder or text/);
  });

  it('writes all parts of an adapter of SDXL', async () => {
    const file = fixturePath('sdxl-tiny/lora/diffusers/pytorch_lora_weights.safetensors');
    expect(await run(['export', file, '--model', fixturePath('sdxl-tiny/model'), '-o', path('te.safetensors')])).toBe(
      0,
    );
    const { components } = await openLora(path('te.safetensors'));
    const { components: expected } = await openLora(file);
    expect(Object.keys(components).sort()).toEqual(['text_encoder', 'text_encoder_2', 'unet']);
    for (const [name, { modules }] of Object.entries(expected))
      expect(Object.keys(components[name]!.modules)).toHaveLength(Object.keys(modules).length);
  });

  it('writes an adapter of a model in a single file', async () => {
    const { hidden_size: width } = fixtureJson<{ hidden_size: number }>(
      'single-file/sdxl/config/text_encoder_2/config.json',
    );
    const data = { dtype: 'F32', data: new Float32Array(width) } as const;
    const key = 'text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj';
    const tensors = {
      [`${key}.lora_A.weight`]: { ...data, shape: [1, width] },
      [`${key}.lora_B.weight`]: { ...data, shape: [width, 1] },
    };
    await saveSafetensors(path('single.safetensors'), tensors, {});
    const single = ['--model', 'single-file/sdxl/sdxl-fp16.safetensors', '--model-config', 'single-file/sdxl/config'];
    const options = single.map((word) => (word.startsWith('--') ? word : fixturePath(word)));
    expect(await run(['export', path('single.safetensors'), ...options, '-o', path('te.safetensors')])).toBe(0);
    expect(Object.keys((await openLora(path('te.safetensors'))).components)).toEqual(['text_encoder_2']);
  });

  it('has no option of an engine, which it does not use', async () => {
    expect(await run(['export', '--help'])).toBe(0);
    expect(printed.stdout).toContain('--model');
    expect(printed.stdout).not.toMatch(/--(engine|device|threads|max-memory|backend)/);
  });
});
