import { flatten, useBackend, type Params, type StoredTensor } from '@alignprop/autograd-ext';
import { encodeSafetensors, memory, type RawTensor } from '@alignprop/autograd-ext/weights';
import { beforeAll, describe, expect, it } from 'vitest';
import { applyLora, openLora, removeLora, scaleLora } from './index.js';

beforeAll(() => useBackend('cpu'));

const stored = (shape: number[], ...values: number[]): StoredTensor => ({
  shape,
  dtype: 'F32',
  read: () => Promise.resolve(Float32Array.from(values)),
});
const tree: Params = {
  text_model: { encoder: { layers: [{ fc1: { weight: stored([1, 2], 1, 2), bias: stored([1], 10) } }] } },
  down_blocks: [
    {
      resnets: [
        { conv1: { weight: stored([1, 2], 1, 2), bias: stored([1], 10) }, norm1: { weight: stored([2], 1, 1) } },
      ],
      attentions: [{ to_q: { weight: stored([2, 2], 1, 2, 3, 4) } }],
    },
  ],
};
const conv1 = 'down_blocks.0.resnets.0.conv1';
const values = (shape: number[], ...data: number[]): RawTensor => ({
  dtype: 'F32',
  shape,
  data: Float32Array.from(data),
});

/** Applies a file to the tree. */
async function apply(
  tensors: Record<string, RawTensor>,
  options: Parameters<typeof applyLora>[2] & { component?: string; config?: object } = {},
): Promise<Params> {
  const { component = 'unet', config = {}, ...others } = options;
  const files = {
    'adapter_model.safetensors': encodeSafetensors(tensors),
    'adapter_config.json': JSON.stringify(config),
  };
  const { components } = await openLora(memory(files));
  return applyLora(tree, components[component]!, others);
}
const read = async (params: Params, path: string) => [...(await (flatten(params)[path] as StoredTensor).read())];

const pair = (name: string) => ({
  [`${name}.lora_A.weight`]: values([1, 2], 1, 1),
  [`${name}.lora_B.weight`]: values([1, 1], 1),
});

describe('applyLora', () => {
  it.each([
    [
      "peft's lora_B.bias, times the scale",
      { [`${conv1}.lora_B.bias`]: values([1], 3) },
      { lora_alpha: 2 },
      10 + 2 * 3,
    ],
    ['diff_b, as it is', { [`${conv1}.diff_b`]: values([1], 3) }, { lora_alpha: 2 }, 10 + 3],
  ])('adds to the bias of an adapted module %s', async (_, bias, config, expected) => {
    const file = { ...pair(conv1), ...bias };
    const params = await apply(file, { config });
    expect(await read(params, `${conv1}.bias`)).toEqual([expected]);
    expect(await read(scaleLora(params, 0.5), `${conv1}.bias`)).toEqual([(10 + expected) / 2]);
    expect(await read(removeLora(params), `${conv1}.bias`)).toEqual([10]);
    await expect(apply(file, { config, trainable: true })).rejects.toThrow(`${conv1}: can be applied but not trained`);
  });

  it('multiplies rows by (IA)³ of peft and their bias too, where the module has one', async () => {
    const config = { peft_type: 'IA3', feedforward_modules: [] };
    const params = await apply(
      {
        [`${conv1}.ia3_l`]: values([1, 1], 3),
        'down_blocks.0.attentions.0.to_q.ia3_l': values([2, 1], 3, 5),
      },
      { config },
    );
    expect(await read(params, `${conv1}.weight`)).toEqual([3, 6]);
    expect(await read(params, `${conv1}.bias`)).toEqual([30]);
    expect(await read(params, 'down_blocks.0.attentions.0.to_q.weight')).toEqual([3, 6, 15, 20]);
  });

  it.each([
    'text_model.encoder.layers.0.fc1',
    'encoder.layers.0.fc1',
    'text_model_encoder_layers_0_fc1',
    'encoder_layers_0_fc1',
  ])('finds the module of the text encoder by the name %s', async (name) => {
    const params = await apply({ [`${name}.diff`]: values([1, 2], 1, 1) }, { component: 'text_encoder' });
    expect(await read(params, 'text_model.encoder.layers.0.fc1.weight')).toEqual([2, 3]);
  });

  it.each([
    ['input_blocks.1.0.in_layers.0', [2], 'down_blocks.0.resnets.0.norm1'],
    ['input_blocks_1_1_to_q', [2, 2], 'down_blocks.0.attentions.0.to_q'],
    ['down_blocks_0_attentions_0_to_q', [2, 2], 'down_blocks.0.attentions.0.to_q'],
  ])('finds the module of the UNet by the name %s', async (name, shape, module) => {
    const ones = values(shape, ...new Array<number>(shape[0]! * (shape[1] ?? 1)).fill(1));
    const [before, after] = [tree, await apply({ [`${name}.diff`]: ones })];
    const path = `${module}.weight`;
    expect(await read(after, path)).toEqual((await read(before, path)).map((value) => value + 1));
  });

  it('names two modules of a file that mean the same', async () => {
    const same = { ...pair(conv1), ...pair('input_blocks.1.0.in_layers.2') };
    await expect(apply(same)).rejects.toThrow(
      'applyLora: memory/adapter_model.safetensors: 1 of 2 modules do not fit: ' +
        `input_blocks.1.0.in_layers.2: names the same module as ${conv1}`,
    );
  });

  it('names a bias that the module does not have, and one of another length', async () => {
    const module = 'down_blocks.0.attentions.0.to_q';
    await expect(apply({ [`${module}.diff_b`]: values([2], 1, 1) })).rejects.toThrow(
      `${module}: bias: not in the model`,
    );
    await expect(apply({ ...pair(conv1), [`${conv1}.diff_b`]: values([2], 1, 1) })).rejects.toThrow(
      `${conv1}: bias: diff_b [2] got, expected [1]`,
    );
  });

  it('refuses the bias of LoRA for a module that has none', async () => {
    const module = 'down_blocks.0.attentions.0.to_q';
    const file = {
      [`${module}.lora_A.weight`]: values([1, 2], 1, 1),
      [`${module}.lora_B.weight`]: values([2, 1], 1, 1),
      [`${module}.lora_B.bias`]: values([2], 1, 1),
    };
    await expect(apply(file)).rejects.toThrow(`${module}: bias: the module has none in the model`);
  });

  it.each([
    ['of two numbers', [2], [1, 1]],
    ['that is empty', [0], []],
  ] as const)('refuses an α %s', async (_, shape, numbers) => {
    await expect(apply({ ...pair(conv1), [`${conv1}.alpha`]: values([...shape], ...numbers) })).rejects.toThrow(
      `${conv1} has alpha [${shape}], expected one number`,
    );
  });

  it('refuses an initialization from the weights for a module that is no matrix', async () => {
    const config = { init_lora_weights: 'olora' };
    const norm = { 'down_blocks.0.resnets.0.norm1.lora_A.weight': values([1, 2], 1, 1) };
    await expect(apply({ ...norm, ...pair(conv1) }, { config })).rejects.toThrow(
      'norm1: neither linear nor a convolution',
    );
  });
});
