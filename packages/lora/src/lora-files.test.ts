import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { elementCount, flatten, useBackend, type Params, type StoredTensor } from '@alignprop/autograd-ext';
import { directory, encodeSafetensors, memory, openSafetensors } from '@alignprop/autograd-ext/weights';
import { ones } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  applyLora,
  loadLora,
  openLora,
  LoraLayer,
  loraModules,
  saveLora,
  stateTensors,
  type LoraFormat,
} from './index.js';

const filled = (shape: number[], value: number) => ({
  dtype: 'F32' as const,
  shape,
  data: new Float32Array(elementCount(shape)).fill(value),
});
const file = (tensors: Record<string, ReturnType<typeof filled>>, metadata?: Record<string, string>) =>
  encodeSafetensors(tensors, metadata);

const weight = (shape: number[]): StoredTensor => ({ shape, dtype: 'F32', read: async () => new Float32Array(24) });
const tree: Params = {
  attn1: { to_q: { weight: weight([6, 4]) }, to_out: [{ weight: weight([4, 6]) }] },
  attn2: { to_q: { weight: weight([6, 4]) } },
};

const layer = ([out, size]: [number, number], r: number): LoraLayer =>
  new LoraLayer({ base: weight([out, size]), loraA: ones([r, size]), loraB: ones([out, r]), scale: 1.5 });

/** Loads a file, applies it to the tree and returns the scale of each adapter. */
async function scales(
  name: string,
  data: Uint8Array,
  otherFiles: Record<string, string> = {},
): Promise<Record<string, number>> {
  const state = await loadLora(memory({ [name]: data, ...otherFiles }));
  return Object.fromEntries(
    Object.entries(loraModules(await applyLora(tree, state))).map(([module, { scale }]) => [module, scale]),
  );
}

let folder: string;
beforeAll(async () => {
  await useBackend('wasm');
  folder = await mkdtemp(join(tmpdir(), 'lora-'));
});
afterAll(() => rm(folder, { recursive: true }));

describe('loadLora', () => {
  const [a, b] = [filled([2, 4], 1), filled([6, 2], 2)];

  it.each([
    ['unet.attn1.to_q.lora.down.weight', 'unet.attn1.to_q.lora.up.weight'],
    ['unet.attn1.to_q.lora_A.weight', 'unet.attn1.to_q.lora_B.weight'],
    ['base_model.model.attn1.to_q.lora_A.weight', 'base_model.model.attn1.to_q.lora_B.weight'],
    ['lora_unet_attn1_to_q.lora_down.weight', 'lora_unet_attn1_to_q.lora_up.weight'],
    ['unet.attn1.processor.to_q_lora.down.weight', 'unet.attn1.processor.to_q_lora.up.weight'],
    ['attn1.processor.to_q_lora.down.weight', 'attn1.processor.to_q_lora.up.weight'],
  ])('reads %s, and takes the rank for alpha where the file has none', async (keyA, keyB) => {
    expect(await scales('pytorch_lora_weights.safetensors', file({ [keyA]: a, [keyB]: b }))).toEqual({
      'attn1.to_q': 1,
    });
  });

  it('reads to_out of the attention processors as to_out.0', async () => {
    const data = file({
      'attn1.processor.to_out_lora.down.weight': filled([2, 6], 1),
      'attn1.processor.to_out_lora.up.weight': filled([4, 2], 1),
    });
    expect(await scales('pytorch_lora_weights.safetensors', data)).toEqual({ 'attn1.to_out.0': 1 });
  });

  it("prefers a module's own alpha, then the configuration's pattern, then its alpha", async () => {
    const pair = (module: string) => ({ [`unet.${module}.lora_A.weight`]: a, [`unet.${module}.lora_B.weight`]: b });
    const json = (fields: object) => ({ lora_adapter_metadata: JSON.stringify(fields) });
    const tensors = { ...pair('attn1.to_q'), ...pair('attn2.to_q') };
    const name = 'pytorch_lora_weights.safetensors';
    expect(
      await scales(name, file(tensors, json({ 'unet.lora_alpha': 6, 'unet.alpha_pattern': { 'attn2.to_q': 1 } }))),
    ).toEqual({ 'attn1.to_q': 3, 'attn2.to_q': 0.5 });
    expect(
      await scales(name, file({ ...tensors, 'unet.attn1.to_q.alpha': filled([], 8) }, json({ 'unet.lora_alpha': 6 }))),
    ).toEqual({ 'attn1.to_q': 4, 'attn2.to_q': 3 });
    expect(
      (await scales(name, file(tensors, json({ 'unet.lora_alpha': 6, 'unet.use_rslora': true }))))['attn1.to_q'],
    ).toBeCloseTo(6 / Math.SQRT2);
    // A model's own save_lora_adapter does not name the part.
    expect((await scales(name, file(tensors, json({ r: 2, lora_alpha: 7 }))))['attn1.to_q']).toBe(3.5);
    const config = JSON.stringify({ peft_type: 'LORA', r: 2, lora_alpha: 5 });
    const both = { 'attn1.to_q': 2.5, 'attn2.to_q': 2.5 };
    expect(await scales('adapter_model.safetensors', file(tensors), { 'adapter_config.json': config })).toEqual(both);
  });

  it("reads peft's configuration beside a file of its keys that has another name", async () => {
    const name = 'base_model.model.attn1.to_q';
    const data = file({ [`${name}.lora_A.weight`]: a, [`${name}.lora_B.weight`]: b });
    const config = { 'adapter_config.json': JSON.stringify({ lora_alpha: 5 }) };
    expect(await scales('style.safetensors', data, config)).toEqual({ 'attn1.to_q': 2.5 });
    expect(await scales('style.safetensors', data)).toEqual({ 'attn1.to_q': 1 });
  });

  it('reads one part of a pipeline and lists all parts of the file', async () => {
    const data = file({
      'lora_unet_attn1_to_q.lora_down.weight': a,
      'lora_unet_attn1_to_q.lora_up.weight': b,
      'lora_unet_attn1_to_q.alpha': filled([], 1),
      'lora_te_layers_0_q.lora_down.weight': a,
      'lora_te_layers_0_q.lora_up.weight': b,
    });
    const state = await loadLora(memory({ 'any name.safetensors': data }));
    expect(state.modules).toMatchObject({ attn1_to_q: { kind: 'lora', alpha: 1 } });
    expect(Object.keys(stateTensors(state))).toEqual(['attn1_to_q.lora_A.weight', 'attn1_to_q.lora_B.weight']);
    expect([...state.components!].sort()).toEqual(['text_encoder', 'unet']);
    const text = await loadLora(memory({ 'a.safetensors': data }), { prefix: 'text_encoder' });
    expect(Object.keys(text.modules)).toEqual(['layers_0_q']);
    await expect(loadLora(memory({ 'a.safetensors': data }), { prefix: 'transformer' })).rejects.toThrow(
      "has nothing for 'transformer', only for",
    );
  });

  it('names the problem of a file that it refuses', async () => {
    const good = { 'unet.attn1.to_q.lora_A.weight': a, 'unet.attn1.to_q.lora_B.weight': b };
    const load = (tensors: Parameters<typeof file>[0], metadata?: Record<string, string>) =>
      loadLora(memory({ 'a.safetensors': file(tensors, metadata) }));
    await expect(load({ ...good, 'unet.conv.weight': a })).rejects.toThrow(
      'memory/a.safetensors has keys of no known adapter: unet.conv.weight. They are weights of whole modules',
    );
    await expect(load({ ...good, 'unet.attn1.to_q.lora.down.weight': a })).rejects.toThrow(
      'has keys that mean the same as others: ',
    );
    await expect(load({ ...good, 'unet.attn1.to_q.hada_w1_a': a })).rejects.toThrow(
      'attn1.to_q has tensors of several kinds of adapter, LoRA, LoHa: ',
    );
    await expect(load({ 'unet.attn1.to_q.lora_A.x.weight': a, 'unet.attn1.to_q.lora_B.y.weight': b })).rejects.toThrow(
      'memory/a.safetensors holds several adapters: x, y.',
    );
    await expect(load({ 'unet.attn1.to_q.alpha': filled([], 1) })).rejects.toThrow(
      'attn1.to_q has alpha without the rest of an adapter',
    );
    await expect(load(good, { lora_adapter_metadata: '{' })).rejects.toThrow('is not JSON');
    const metadata = { 'unet.modules_to_save': ['conv_in'], 'unet.lora_alpha': 'x', 'unet.alpha_pattern': { '(q': 2 } };
    await expect(load(good, { lora_adapter_metadata: JSON.stringify(metadata) })).rejects.toThrow(
      'memory/a.safetensors: modules_to_save got ["conv_in"], expected nothing (whole modules trained beside the ' +
        'adapter); lora_alpha got "x", expected a number; alpha_pattern got \'(q\', expected a regular expression',
    );
  });

  it.each([NaN, Infinity, -Infinity])('refuses the value %s by the key and the file', async (value) => {
    const pair = { 'unet.attn1.to_q.lora_A.weight': a, 'unet.attn1.to_q.lora_B.weight': filled([6, 2], value) };
    await expect(loadLora(memory({ 'a.safetensors': file(pair) }))).rejects.toThrow(
      `loadLora: memory/a.safetensors: unet.attn1.to_q.lora_B.weight has the value ${value}, expected finite numbers.`,
    );
  });

  it('reads the part that modules show where the keys name none', async () => {
    const keys = ['mid_block.attentions.0.to_q', 'text_model.encoder.layers.0.self_attn.q_proj', 'attn1.to_q'];
    const data = file(
      Object.fromEntries(
        keys.flatMap((key) => [
          [`${key}.lora_A.weight`, a],
          [`${key}.lora_B.weight`, b],
        ]),
      ),
    );
    const { components } = await openLora(memory({ 'a.safetensors': data }), { prefix: 'text_encoder_2' });
    expect(Object.entries(components).map(([name, { modules }]) => [name, Object.keys(modules)])).toEqual([
      ['text_encoder_2', ['attn1.to_q', 'text_model.encoder.layers.0.self_attn.q_proj']],
      ['unet', ['mid_block.attentions.0.to_q']],
    ]);
  });

  it('returns bundled embeddings by token and text encoder', async () => {
    const { embeddings, components } = await openLora(
      memory({
        'a.safetensors': file({
          'bundle_emb.sks.string_to_param.*': a,
          'bundle_emb.two.words.clip_l': a,
          'bundle_emb.two.words.clip_g': b,
          'lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight': a,
          'lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight': b,
        }),
      }),
    );
    expect(Object.keys(components)).toEqual(['text_encoder']);
    expect(Object.entries(embeddings).map(([token, parts]) => [token, Object.keys(parts).sort()])).toEqual([
      ['sks', ['text_encoder']],
      ['two.words', ['text_encoder', 'text_encoder_2']],
    ]);
  });
});

describe('saveLora', () => {
  const adapted = () =>
    ({
      attn1: {
        to_q: { weight: layer([6, 4], 2) },
        to_out: [{ weight: layer([4, 6], 3) }],
      },
      attn2: { to_q: { weight: weight([6, 4]) } },
    }) as unknown as Params;
  const saved = async (format: LoraFormat) => {
    const path = format === 'peft' ? join(folder, format) : join(folder, `${format}.safetensors`);
    await saveLora(path, adapted(), { format });
    return path;
  };
  const product = async (params: Params, module: string) => {
    const { loraA, loraB, scale } = flatten(params)[`${module}.weight`] as LoraLayer;
    return scale * loraA.shape[0]! * loraA.dataSync()[0]! * loraB.dataSync()[0]!;
  };

  it.each(['diffusers-old', 'diffusers', 'peft', 'kohya'] as const)(
    'writes %s files that compute the same when they are read, alpha and ranks included',
    async (format) => {
      const params = await applyLora(tree, await loadLora(await saved(format)));
      expect(await product(params, 'attn1.to_q')).toBeCloseTo(1.5 * 2, 6);
      expect(await product(params, 'attn1.to_out.0')).toBeCloseTo(1.5 * 3, 6);
      const isExact = Object.values(loraModules(params)).every(({ scale }) => scale === 1.5);
      // diffusers-old stores no alpha and kohya one for all modules: B is multiplied in place of it.
      expect(isExact).toBe(format === 'diffusers' || format === 'peft');
    },
  );

  it('writes last names as targets where they are unambiguous, and patterns for other ranks and alphas', async () => {
    const config = JSON.parse(await readFile(join(await saved('peft'), 'adapter_config.json'), 'utf8')) as Record<
      string,
      unknown
    >;
    expect(config.target_modules).toEqual(['attn1.to_q', 'to_out.0']);
    expect([config.r, config.lora_alpha, config.rank_pattern, config.alpha_pattern]).toEqual([
      2,
      3,
      { 'attn1.to_out.0': 3 },
      { 'attn1.to_out.0': 4.5 },
    ]);
  });

  it('writes the part of the pipeline into the keys', async () => {
    const path = join(folder, 'text.safetensors');
    await saveLora(path, adapted(), { format: 'kohya', prefix: 'text_encoder' });
    expect([...(await openSafetensors(directory(folder), 'text.safetensors')).tensors.keys()][0]).toBe(
      'lora_te_attn1_to_out_0.alpha',
    );
    await saveLora(path, adapted(), { format: 'diffusers', prefix: 'text_encoder' });
    expect((await loadLora(path, { prefix: 'text_encoder' })).modules).toMatchObject({
      'attn1.to_q': { alpha: 3 },
      'attn1.to_out.0': { alpha: 4.5 },
    });
  });

  it.each(['diffusers', 'kohya'] as const)('writes several parts of a pipeline to one %s file', async (format) => {
    const path = join(folder, 'parts.safetensors');
    await saveLora(path, adapted(), { format, others: { text_encoder: adapted() } });
    for (const prefix of ['unet', 'text_encoder']) {
      const state = await loadLora(path, { prefix });
      expect([...state.components!].sort()).toEqual(['text_encoder', 'unet']);
      const params = await applyLora(tree, state);
      expect(await product(params, 'attn1.to_q')).toBeCloseTo(1.5 * 2, 6);
      expect(await product(params, 'attn1.to_out.0')).toBeCloseTo(1.5 * 3, 6);
    }
  });

  it('checks its arguments before it writes anything', async () => {
    const before = await readdir(folder);
    await expect(saveLora(join(folder, 'x.safetensors'), tree)).rejects.toThrow('saveLora: the tree has no adapter');
    await expect(saveLora(join(folder, 'x'), adapted())).rejects.toThrow('expected a file that ends in .safetensors');
    await expect(saveLora(join(folder, 'x.safetensors'), adapted(), { format: 'peft' })).rejects.toThrow(
      'expected a folder for the peft format',
    );
    await expect(
      saveLora(join(folder, 'x'), adapted(), { format: 'peft', others: { text_encoder: adapted() } }),
    ).rejects.toThrow("format got 'peft' for several parts");
    await expect(
      saveLora(join(folder, 'x.safetensors'), adapted(), { others: { text_encoder: tree } }),
    ).rejects.toThrow("the tree has no adapter (part 'text_encoder' of the pipeline)");
    await expect(saveLora(join(folder, 'x.safetensors'), adapted(), { format: 'onnx' as never })).rejects.toThrow(
      "format got 'onnx', expected one of diffusers-old, diffusers, peft, kohya",
    );
    expect(await readdir(folder)).toEqual(before);
  });
});
