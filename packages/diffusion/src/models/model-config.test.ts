import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomNormal, slice, tensor1d, type Tensor, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import { flatten, useBackend, withTensors, type Params, elementCount } from '@alignprop/autograd-ext';
import { initParams, type ParamsSpec } from '@alignprop/autograd-ext/weights';
import { checkGradient } from '@alignprop/autograd-ext/testing';
import { expectClose } from '../../../../fixtures/index.js';
import { CLIPTextModel } from '../clip/text-model.js';
import { CLIPVisionModelWithProjection } from '../clip/vision-model.js';
import { basicTransformerBlock, basicTransformerBlockSpec, type BasicTransformerBlockParams } from './attention.js';
import { AutoencoderKL } from './autoencoder-kl.js';
import { unet2DCondition, UNet2DConditionModel } from './unet-2d-condition.js';

/** Names and sizes of the weights that a spec demands. */
function sizes(spec: ParamsSpec): Record<string, number> {
  const found: Record<string, number> = {};
  initParams(spec, (path, shape) => {
    found[path] = elementCount(shape);
    return { shape, dtype: 'F32', read: () => Promise.reject(new Error('not read')) };
  });
  return found;
}
const total = (spec: ParamsSpec) => Object.values(sizes(spec)).reduce((sum, size) => sum + size, 0);

const four = <T>(value: T): T[] => [value, value, value, value];
const vae = {
  block_out_channels: [128, 256, 512, 512],
  layers_per_block: 2,
  down_block_types: four('DownEncoderBlock2D'),
  up_block_types: four('UpDecoderBlock2D'),
};

describe('the published architectures', () => {
  it('Stable Diffusion 1.5', () => {
    const unet = UNet2DConditionModel.spec({ cross_attention_dim: 768 });
    expect(total(unet)).toBe(859_520_964);
    expect(Object.keys(sizes(unet))).toHaveLength(686);
    expect(total(AutoencoderKL.spec(vae))).toBe(83_653_863);
    expect(Object.keys(sizes(AutoencoderKL.spec(vae)))).toHaveLength(248);
    expect(total(CLIPTextModel.spec({ hidden_size: 768, intermediate_size: 3072, num_attention_heads: 12 }))).toBe(
      123_060_480,
    );
  });

  it('Stable Diffusion 2.1', () => {
    const unet = UNet2DConditionModel.spec({
      cross_attention_dim: 1024,
      attention_head_dim: [5, 10, 20, 20],
      use_linear_projection: true,
    });
    expect(total(unet)).toBe(865_910_724);
    const text = {
      hidden_size: 1024,
      intermediate_size: 4096,
      num_attention_heads: 16,
      num_hidden_layers: 23,
      hidden_act: 'gelu',
    };
    expect(total(CLIPTextModel.spec(text))).toBe(340_387_840);
  });

  it('CLIP ViT-L/14', () => {
    const vision = {
      hidden_size: 1024,
      intermediate_size: 4096,
      num_attention_heads: 16,
      num_hidden_layers: 24,
      patch_size: 14,
    };
    expect(total(CLIPVisionModelWithProjection.spec({ projection_dim: 768, vision_config: vision }))).toBe(303_966_208);
  });
});

describe('configs', () => {
  const unet = (config: object) => new UNet2DConditionModel({ ...config }, {}).config;

  it('have diffusers’ defaults where a field is missing, and keep no field of other classes', () => {
    expect(unet({ use_ema_warmup: false, _class_name: 'UNet2DConditionModel' })).toMatchObject({
      norm_eps: 1e-5,
      freq_shift: 0,
      use_linear_projection: false,
    });
    expect(unet({ use_ema_warmup: false })).not.toHaveProperty('use_ema_warmup');
  });

  it.each([
    [{ num_class_embeds: 1000 }, 'num_class_embeds got 1000, expected null'],
    [{ time_cond_proj_dim: 256 }, 'time_cond_proj_dim got 256, expected null'],
    [{ addition_embed_type: 'text_time' }, 'addition_embed_type got "text_time", expected null'],
    [
      { mid_block_type: 'UNetMidBlock2DSimpleCrossAttn' },
      'expected "UNetMidBlock2DCrossAttn" or "UNetMidBlock2D" or null',
    ],
    [{ layers_per_block: 0 }, 'layers_per_block got 0, expected a positive integer or a list of them'],
    [{ attention_head_dim: [5, 10] }, 'attention_head_dim got [5,10], expected 4 entries, as block_out_channels has'],
    [{ attention_head_dim: 7 }, 'attention_head_dim got 7 heads, expected a divisor of 320 channels'],
    [{ norm_num_groups: 48 }, 'norm_num_groups got 48, expected a divisor of 320 channels'],
    [{ norm_num_groups: null }, 'norm_num_groups got null, expected a positive integer'],
    [{ block_out_channels: '320' }, 'block_out_channels got "320", expected a list of positive integers'],
    [
      { only_cross_attention: [true, 'no'] },
      'only_cross_attention got [true,"no"], expected a boolean or a list of them',
    ],
  ])('UNet: %o', (config, message) => expect(() => unet(config)).toThrow(message));

  it('AutoencoderKL', () => {
    const parse = (config: object) => new AutoencoderKL({ ...vae, ...config }, {});
    expect(() => parse({ shift_factor: 0.1 })).toThrow(
      'AutoencoderKL: config field shift_factor got 0.1, expected null',
    );
    expect(() => parse({ up_block_types: ['UpDecoderBlock2D'] })).toThrow(
      'up_block_types got ["UpDecoderBlock2D"], expected 4 entries',
    );
    expect(() => parse({ norm_num_groups: 96 })).toThrow('norm_num_groups got 96, expected a divisor of 128 channels');
  });

  it('CLIP', () => {
    expect(() => new CLIPTextModel({ hidden_act: 'relu' }, {})).toThrow(
      'CLIPTextModel: config field hidden_act got "relu", expected "quick_gelu" or "gelu"',
    );
    expect(() => new CLIPTextModel({ num_attention_heads: 7 }, {})).toThrow(
      'num_attention_heads got 7, expected a divisor of hidden_size 512',
    );
    const both = {
      projection_dim: 64,
      text_config: { hidden_size: 32 },
      text_config_dict: { hidden_size: 48, projection_dim: 9 },
      vision_config: {},
    };
    expect(new CLIPTextModel(both, {}).config).toMatchObject({ hidden_size: 48, projection_dim: 64 });
    expect(new CLIPVisionModelWithProjection(both, {}).config).toMatchObject({ hidden_size: 768, projection_dim: 64 });
  });
});

describe('architectures that no checkpoint here has', () => {
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

  function random(config: object): UNet2DConditionModel {
    let seed = 0;
    const params = initParams(UNet2DConditionModel.spec({ ...config }), (_, shape) =>
      randomNormal([...shape], 0.1, 0.4, 'float32', ++seed),
    );
    return new UNet2DConditionModel({ ...config }, params);
  }
  const run = ({ config }: UNet2DConditionModel, params: Params) => unet2DCondition(config, params, ...inputs);

  it.each([
    [
      'two transformer blocks a level',
      { transformer_layers_per_block: [2, 1] },
      'down_blocks.0.attentions.0.transformer_blocks.1.ff.net.2.weight',
    ],
    ['a mid block of one resnet', { mid_block_type: 'UNetMidBlock2D' }, 'mid_block.resnets.0.conv1.weight'],
    ['no mid block', { mid_block_type: null }, 'conv_in.weight'],
    [
      'layers and context widths per level',
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
    ['a time embedding of its own width', { time_embedding_dim: 10 }, 'time_embedding.linear_2.weight'],
  ])('%s', (_, changes, weight) => {
    const model = random({ ...tiny, ...changes });
    expect(Object.keys(flatten(model.params))).toContain(weight);
    expect(run(model, model.params).shape).toEqual([2, 5, 3, 4]);
    const leaf = flatten(model.params)[weight] as Tensor;
    checkGradient((w) => run(model, withTensors(model.params, { [weight]: w })), [leaf], { entries: 4, step: 5e-2 });
  });

  it('the mid block of a UNet with only cross-attention still attends to itself', () => {
    const shapes = flatten(random({ ...tiny, only_cross_attention: true }).params);
    expect(shapes['down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k.weight']!.shape).toEqual([4, 6]);
    expect(shapes['mid_block.attentions.0.transformer_blocks.0.attn1.to_k.weight']!.shape).toEqual([8, 8]);
  });

  it('with only cross-attention, tokens do not see each other', () => {
    let seed = 50;
    const block = (onlyCrossAttention: boolean) => {
      const params = initParams(basicTransformerBlockSpec(4, 6, { onlyCrossAttention }), (_, shape) =>
        randomNormal([...shape], 0, 0.5, 'float32', ++seed),
      );
      return (tokens: Tensor) =>
        basicTransformerBlock(params as unknown as BasicTransformerBlockParams, tokens, slice(inputs[2], 0, 1), {
          heads: 2,
          onlyCrossAttention,
        });
    };
    const tokens = randomNormal([1, 5, 4], 0, 1, 'float32', 3);
    const apart = block(true);
    expectClose(
      slice(apart(tokens), [0, 0, 0], [1, 2, 4]),
      apart(slice(tokens, [0, 0, 0], [1, 2, 4])),
      1e-6,
      'two of five tokens',
    );
    const together = block(false);
    expect(() =>
      expectClose(slice(together(tokens), [0, 0, 0], [1, 2, 4]), together(slice(tokens, [0, 0, 0], [1, 2, 4])), 1e-3),
    ).toThrow();
  });
});
