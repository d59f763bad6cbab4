import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomNormal, slice, tensor1d, type Tensor, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import { flatten, useBackend, withTensors, type Params } from '@alignprop/autograd-ext';
import { checkGradient } from '@alignprop/autograd-ext/testing';
import { expectClose } from '../../../../fixtures/index.js';
import { parameterCount, randomParams, weightSizes } from './__fixtures__/weights.js';
import { basicTransformerBlock, basicTransformerBlockSpec, type BasicTransformerBlockParams } from './attention.js';
import { AutoencoderKL } from './autoencoder-kl.js';
import { unet2DCondition, UNet2DConditionModel } from './unet-2d-condition.js';

const four = <T>(value: T): T[] => [value, value, value, value];
const vae = {
  block_out_channels: [128, 256, 512, 512],
  layers_per_block: 2,
  down_block_types: four('DownEncoderBlock2D'),
  up_block_types: four('UpDecoderBlock2D'),
};

describe('the specs of published models', () => {
  it('have the parameters of Stable Diffusion 1.5', () => {
    const unet = UNet2DConditionModel.spec({ cross_attention_dim: 768 });
    expect(parameterCount(unet)).toBe(859_520_964);
    expect(Object.keys(weightSizes(unet))).toHaveLength(686);
    expect(parameterCount(AutoencoderKL.spec(vae))).toBe(83_653_863);
    expect(Object.keys(weightSizes(AutoencoderKL.spec(vae)))).toHaveLength(248);
  });

  it('have the parameters of Stable Diffusion 2.1', () => {
    const unet = UNet2DConditionModel.spec({
      cross_attention_dim: 1024,
      attention_head_dim: [5, 10, 20, 20],
      use_linear_projection: true,
    });
    expect(parameterCount(unet)).toBe(865_910_724);
  });
});

describe('the configs of models', () => {
  const unet = (config: object) => new UNet2DConditionModel({ ...config }, {}).config;

  it('fill in the defaults of diffusers and drop fields of other classes', () => {
    expect(unet({ use_ema_warmup: false, _class_name: 'UNet2DConditionModel' })).toMatchObject({
      norm_eps: 1e-5,
      freq_shift: 0,
      use_linear_projection: false,
    });
    expect(unet({ use_ema_warmup: false })).not.toHaveProperty('use_ema_warmup');
  });

  it.each([
    [{ num_class_embeds: 1000 }, 'num_class_embeds got 1000, expected null'],
    [{ addition_embed_type: 'image' }, 'addition_embed_type got "image", expected null or "text_time"'],
    [{ addition_embed_type: 'text_time' }, 'addition_time_embed_dim got null, expected a positive integer'],
    [
      { mid_block_type: 'UNetMidBlock2DSimpleCrossAttn' },
      'expected "UNetMidBlock2DCrossAttn" or "UNetMidBlock2D" or null',
    ],
    [{ layers_per_block: 0 }, 'layers_per_block got 0, expected an integer from 1 to 16, or a list of them'],
    [{ attention_head_dim: [5, 10] }, 'attention_head_dim got [5,10], expected 4 entries, as block_out_channels has'],
    [{ attention_head_dim: 7 }, 'attention_head_dim got 7 heads, expected a divisor of 320 channels'],
    [{ norm_num_groups: 48 }, 'norm_num_groups got 48, expected a divisor of 320 channels'],
    [{ norm_num_groups: null }, 'norm_num_groups got null, expected an integer from 1 to 65536'],
    [
      { block_out_channels: '320' },
      'block_out_channels got "320", expected a list of up to 14 integers from 1 to 65536',
    ],
    [
      { only_cross_attention: [true, 'no'] },
      'only_cross_attention got [true,"no"], expected a boolean or a list of them',
    ],
  ])('reject the UNet config %o', (config, message) => expect(() => unet(config)).toThrow(message));

  it('reject unsupported values of AutoencoderKL', () => {
    const parse = (config: object) => new AutoencoderKL({ ...vae, ...config }, {});
    expect(() => parse({ shift_factor: 0.1 })).toThrow(
      'AutoencoderKL: config field shift_factor got 0.1, expected null',
    );
    expect(() => parse({ up_block_types: ['UpDecoderBlock2D'] })).toThrow(
      'up_block_types got ["UpDecoderBlock2D"], expected 4 entries',
    );
    expect(() => parse({ norm_num_groups: 96 })).toThrow('norm_num_groups got 96, expected a divisor of 128 channels');
  });
});

describe('UNet architectures without a checkpoint among the fixtures', () => {
  const tiny = {
    block_out_channels: [4, 8],
    norm_num_groups: 2,
    attention_head_dim: [2, 4],
    cross_attention_dim: 6,
    layers_per_block: 1,
    down_block_types: ['CrossAttnDownBlock2D', 'DownBlock2D'],
    up_block_types: ['UpBlock2D', 'CrossAttnUpBlock2D'],
  };
  let inputs: [Tensor4D, Tensor, Tensor3D];
  beforeAll(async () => {
    await useBackend('wasm');
    inputs = [
      randomNormal([2, 5, 3, 4], 0, 1, 'float32', 1),
      tensor1d([10, 700]),
      randomNormal([2, 3, 6], 0, 1, 'float32', 2),
    ];
  });
  afterAll(() => inputs.forEach((x) => x.dispose()));

  function randomModel(config: object): UNet2DConditionModel {
    const params = randomParams(UNet2DConditionModel.spec({ ...config }), { mean: 0.1, deviation: 0.4 });
    return new UNet2DConditionModel({ ...config }, params);
  }
  const run = ({ config }: UNet2DConditionModel, params: Params) => unet2DCondition(config, params, ...inputs);

  it.each([
    [
      'two transformer blocks per level',
      { transformer_layers_per_block: [2, 1] },
      'down_blocks.0.attentions.0.transformer_blocks.1.ff.net.2.weight',
    ],
    ['a mid block of one resnet', { mid_block_type: 'UNetMidBlock2D' }, 'mid_block.resnets.0.conv1.weight'],
    ['no mid block', { mid_block_type: null }, 'conv_in.weight'],
    [
      'different numbers of layers per level, and context widths per level',
      { layers_per_block: [2, 1], cross_attention_dim: [6, 6] },
      'up_blocks.1.resnets.2.conv1.weight',
    ],
    [
      'only cross-attention',
      { only_cross_attention: [true, false] },
      'down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_v.weight',
    ],
    ['padding at the bottom and right', { downsample_padding: 0 }, 'down_blocks.0.downsamplers.0.conv.weight'],
    [
      'attention at the lowest level',
      {
        down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D'],
        up_block_types: ['CrossAttnUpBlock2D', 'UpBlock2D'],
      },
      'up_blocks.0.attentions.1.proj_in.weight',
    ],
    ['centred input', { center_input_sample: true }, 'conv_in.weight'],
    ['an explicit width of the time embedding', { time_embedding_dim: 10 }, 'time_embedding.linear_2.weight'],
  ])('run and have the gradient of finite differences: %s', (_, changes, weight) => {
    const model = randomModel({ ...tiny, ...changes });
    expect(Object.keys(flatten(model.params))).toContain(weight);
    expect(run(model, model.params).shape).toEqual([2, 5, 3, 4]);
    const leaf = flatten(model.params)[weight] as Tensor;
    checkGradient((w) => run(model, withTensors(model.params, { [weight]: w })), [leaf], { entries: 4, step: 5e-2 });
  });

  it('have self-attention in the mid block with only_cross_attention', () => {
    const shapes = flatten(randomModel({ ...tiny, only_cross_attention: true }).params);
    expect(shapes['down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k.weight']!.shape).toEqual([4, 6]);
    expect(shapes['mid_block.attentions.0.transformer_blocks.0.attn1.to_k.weight']!.shape).toEqual([8, 8]);
  });

  it('do not mix tokens in blocks with onlyCrossAttention', () => {
    const block = (onlyCrossAttention: boolean) => {
      const params = randomParams(basicTransformerBlockSpec(4, 6, { onlyCrossAttention }), { seed: 50 });
      return (tokens: Tensor) =>
        basicTransformerBlock(params as unknown as BasicTransformerBlockParams, tokens, slice(inputs[2], 0, 1), {
          heads: 2,
          onlyCrossAttention,
        });
    };
    const tokens = randomNormal([1, 5, 4], 0, 1, 'float32', 3);
    const crossOnly = block(true);
    expectClose(
      slice(crossOnly(tokens), [0, 0, 0], [1, 2, 4]),
      crossOnly(slice(tokens, [0, 0, 0], [1, 2, 4])),
      1e-6,
      'two of five tokens',
    );
    const withSelfAttention = block(false);
    expect(() =>
      expectClose(
        slice(withSelfAttention(tokens), [0, 0, 0], [1, 2, 4]),
        withSelfAttention(slice(tokens, [0, 0, 0], [1, 2, 4])),
        1e-3,
      ),
    ).toThrow();
  });
});
