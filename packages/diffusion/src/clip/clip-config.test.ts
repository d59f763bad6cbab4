import { describe, expect, it } from 'vitest';
import { parameterCount } from '../models/__fixtures__/weights.js';
import { CLIPTextModel } from './text-model.js';
import { CLIPVisionModelWithProjection } from './vision-model.js';

describe('the specs of published encoders', () => {
  it('have the parameters of the text encoder of Stable Diffusion 1.5', () => {
    const text = { hidden_size: 768, intermediate_size: 3072, num_attention_heads: 12 };
    expect(parameterCount(CLIPTextModel.spec(text))).toBe(123_060_480);
  });

  it('have the parameters of the text encoder of Stable Diffusion 2.1', () => {
    const text = {
      hidden_size: 1024,
      intermediate_size: 4096,
      num_attention_heads: 16,
      num_hidden_layers: 23,
      hidden_act: 'gelu',
    };
    expect(parameterCount(CLIPTextModel.spec(text))).toBe(340_387_840);
  });

  it('have the parameters of the image encoder of CLIP ViT-L/14', () => {
    const vision = {
      hidden_size: 1024,
      intermediate_size: 4096,
      num_attention_heads: 16,
      num_hidden_layers: 24,
      patch_size: 14,
    };
    const spec = CLIPVisionModelWithProjection.spec({ projection_dim: 768, vision_config: vision });
    expect(parameterCount(spec)).toBe(303_966_208);
  });
});

describe('the configs of CLIP', () => {
  it('reject unsupported values', () => {
    expect(() => new CLIPTextModel({ hidden_act: 'relu' }, {})).toThrow(
      'CLIPTextModel: config field hidden_act got "relu", expected "quick_gelu" or "gelu"',
    );
    expect(() => new CLIPTextModel({ num_attention_heads: 7 }, {})).toThrow(
      'num_attention_heads got 7, expected a divisor of hidden_size 512',
    );
  });

  it('select one half of the config of a CLIPModel', () => {
    const nested = {
      projection_dim: 64,
      text_config: { hidden_size: 32 },
      text_config_dict: { hidden_size: 48, projection_dim: 9 },
      vision_config: {},
    };
    const { config: text } = new CLIPTextModel(nested, {});
    const { config: vision } = new CLIPVisionModelWithProjection(nested, {});
    expect(text).toMatchObject({ hidden_size: 48, projection_dim: 64 });
    expect(vision).toMatchObject({ hidden_size: 768, projection_dim: 64 });
  });
});
