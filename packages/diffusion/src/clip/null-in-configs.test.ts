import { describe, expect, it } from 'vitest';
import { CLIPTextModel } from './text-model.js';
import { CLIPVisionModelWithProjection } from './vision-model.js';
import { AutoencoderKL } from '../models/autoencoder-kl.js';
import { UNet2DConditionModel } from '../models/unet-2d-condition.js';

// Each list has every field of the class: what its config has for null in the file, as the constructor in diffusers or
// transformers treats None. 'refused': the constructor, or the first call of the model, fails there.
const refused = Symbol('refused');
const classes = {
  UNet2DConditionModel: {
    parse: (config: object) => new UNet2DConditionModel({ ...config }, {}).config,
    nulls: {
      sample_size: null,
      in_channels: refused,
      out_channels: refused,
      center_input_sample: false,
      flip_sin_to_cos: false,
      freq_shift: refused,
      down_block_types: refused,
      mid_block_type: null,
      up_block_types: refused,
      only_cross_attention: refused,
      mid_block_only_cross_attention: null,
      block_out_channels: refused,
      layers_per_block: refused,
      downsample_padding: refused,
      mid_block_scale_factor: refused,
      dropout: refused,
      act_fn: refused,
      norm_num_groups: refused,
      norm_eps: refused,
      cross_attention_dim: refused,
      transformer_layers_per_block: refused,
      reverse_transformer_layers_per_block: null,
      attention_head_dim: refused,
      num_attention_heads: null,
      use_linear_projection: false,
      upcast_attention: null,
      time_embedding_type: refused,
      time_embedding_dim: null,
      time_embedding_act_fn: null,
      timestep_post_act: null,
      time_cond_proj_dim: null,
      resnet_time_scale_shift: refused,
      resnet_skip_time_act: null,
      resnet_out_scale_factor: null,
      conv_in_kernel: refused,
      conv_out_kernel: refused,
      dual_cross_attention: false,
      attention_type: 'default',
      cross_attention_norm: null,
      encoder_hid_dim: null,
      encoder_hid_dim_type: null,
      class_embed_type: null,
      num_class_embeds: null,
      projection_class_embeddings_input_dim: null,
      class_embeddings_concat: false,
      addition_embed_type: null,
      addition_time_embed_dim: null,
      addition_embed_type_num_heads: null,
    },
  },
  AutoencoderKL: {
    parse: (config: object) => new AutoencoderKL({ ...config }, {}).config,
    nulls: {
      in_channels: refused,
      out_channels: refused,
      down_block_types: refused,
      up_block_types: refused,
      block_out_channels: refused,
      layers_per_block: refused,
      act_fn: refused,
      latent_channels: refused,
      norm_num_groups: refused,
      sample_size: null,
      scaling_factor: refused,
      shift_factor: null,
      latents_mean: null,
      latents_std: null,
      force_upcast: null,
      use_quant_conv: false,
      use_post_quant_conv: false,
      mid_block_add_attention: false,
    },
  },
  CLIPTextModel: {
    parse: (config: object) => new CLIPTextModel({ ...config }, {}).config,
    nulls: {
      vocab_size: refused,
      hidden_size: refused,
      intermediate_size: refused,
      num_hidden_layers: refused,
      num_attention_heads: refused,
      max_position_embeddings: refused,
      hidden_act: refused,
      layer_norm_eps: refused,
      eos_token_id: refused,
      projection_dim: 512,
      attention_dropout: null,
      bos_token_id: null,
      pad_token_id: null,
      layout: refused,
    },
  },
  CLIPVisionModel: {
    parse: (config: object) => new CLIPVisionModelWithProjection({ ...config }, {}).config,
    nulls: {
      hidden_size: refused,
      intermediate_size: refused,
      num_hidden_layers: refused,
      num_attention_heads: refused,
      num_channels: refused,
      image_size: refused,
      patch_size: refused,
      hidden_act: refused,
      layer_norm_eps: refused,
      projection_dim: refused,
      attention_dropout: null,
      layout: refused,
    },
  },
} as const;

describe.each(Object.entries(classes))('null in a config of %s', (name, { parse, nulls }) => {
  it('is listed here for every field', () => expect(Object.keys(nulls).sort()).toEqual(Object.keys(parse({})).sort()));

  it.each(Object.entries(nulls))('is read for %s as the reference reads it', (field, expected) => {
    if (expected === refused) expect(() => parse({ [field]: null })).toThrow(`${name}: config field ${field} got null`);
    else expect(parse({ [field]: null })).toMatchObject({ [field]: expected });
  });
});

describe('other spellings in configs', () => {
  const unet = (config: object) => new UNet2DConditionModel({ ...config }, {}).config;

  it.each<[object, object]>([
    [{ sample_size: [64, 96] }, { sample_size: [64, 96] }],
    [{ sample_size: 64.0 }, { sample_size: 64 }],
    [{ act_fn: 'SiLU' }, { act_fn: 'silu' }],
    [{ dropout: 0.1 }, { dropout: 0.1 }],
    [{ time_embedding_dim: 0 }, { time_embedding_dim: null }],
    [{ attention_head_dim: [5, 10, 20, 20] }, { attention_head_dim: [5, 10, 20, 20] }],
    [{ layers_per_block: [1, 2, 2, 1] }, { layers_per_block: [1, 2, 2, 1] }],
    [{ cross_attention_dim: [768, 768, 768, 768] }, { cross_attention_dim: [768, 768, 768, 768] }],
    [
      {
        block_out_channels: [320, 640],
        down_block_types: ['UNetResCrossAttnDownBlock2D', 'UNetResDownBlock2D'],
        up_block_types: ['UNetResUpBlock2D', 'CrossAttnUpBlock2D'],
      },
      {
        down_block_types: ['CrossAttnDownBlock2D', 'DownBlock2D'],
        up_block_types: ['UpBlock2D', 'CrossAttnUpBlock2D'],
      },
    ],
  ])('are accepted in the UNet config %o', (config, expected) => expect(unet(config)).toMatchObject(expected));

  it.each([{ sample_size: [64] }, { sample_size: 0 }, { sample_size: '64' }, { in_channels: [4] }, { dropout: '0' }])(
    'are refused in the UNet config %o',
    (config) => expect(() => unet(config)).toThrow(`config field ${Object.keys(config)[0]} got`),
  );

  it('are accepted for the size of images, which is square', () => {
    const vision = (config: object) => new CLIPVisionModelWithProjection({ ...config }, {}).config;
    expect(vision({ image_size: [336, 336] })).toMatchObject({ image_size: 336 });
    expect(() => vision({ image_size: [336, 224] })).toThrow(
      'image_size got [336,224], expected an integer from 1 to 65536',
    );
  });
});

describe('the sample size of a UNet', () => {
  it.each([
    ['0.6.0', 32, 64],
    ['0.8.1', 63, 64],
    ['0.8.0.dev0', 32, 64],
    ['0.6.0', 96, 96],
    ['0.6.0', [32, 48], [32, 48]],
    ['0.6.0', null, null],
    ['0.9.0', 32, 32],
    ['0.9.0.dev0', 32, 32],
    ['0.10.0', 32, 32],
    [undefined, 32, 32],
  ])('of diffusers %s is for %o in the config %o', (version, size, expected) => {
    const input = { sample_size: size, ...(version && { _diffusers_version: version }) };
    expect(new UNet2DConditionModel(input, {}).config.sample_size).toEqual(expected);
  });
});
