import { encodeSafetensors, memory } from '@alignprop/autograd-ext/weights';
import { describe } from 'vitest';
import { fuzz, fuzzedFile } from '../../../fixtures/fuzz.js';
import { loadLora } from './load-lora.js';

const matrix = (rows: number, columns: number) => ({
  dtype: 'F32',
  shape: [rows, columns],
  data: new Float32Array(rows * columns).fill(0.5),
});
const module = 'unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q';
const diffusers = encodeSafetensors(
  { [`${module}.lora_A.weight`]: matrix(2, 8), [`${module}.lora_B.weight`]: matrix(8, 2) },
  { lora_adapter_metadata: JSON.stringify({ 'unet.r': 2, 'unet.lora_alpha': 4, 'unet.rank_pattern': { to_q: 2 } }) },
);
const flat = 'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q';
const kohya = encodeSafetensors({
  [`${flat}.lora_down.weight`]: matrix(2, 8),
  [`${flat}.lora_up.weight`]: matrix(8, 2),
  [`${flat}.alpha`]: { dtype: 'F32', shape: [], data: Float32Array.of(2) },
});
const peftWeights = encodeSafetensors({
  [`base_model.model.${module.slice(5)}.lora_A.weight`]: matrix(2, 8),
  [`base_model.model.${module.slice(5)}.lora_B.weight`]: matrix(8, 2),
});
const peftConfig = JSON.stringify({
  peft_type: 'LORA',
  r: 2,
  lora_alpha: 4,
  target_modules: ['to_q'],
  alpha_pattern: { '.*to_q': 2 },
  rank_pattern: {},
  use_rslora: false,
  init_lora_weights: true,
});

describe('readers of adapters', () => {
  fuzz({
    reader: 'adapters of diffusers and kohya',
    seeds: [diffusers, kohya],
    read: (bytes) => loadLora(memory({ 'pytorch_lora_weights.safetensors': bytes }, fuzzedFile)),
  });
  fuzz({
    reader: "peft's adapter_config.json",
    seeds: [peftConfig],
    read: (bytes) =>
      loadLora(memory({ 'adapter_config.json': bytes, 'adapter_model.safetensors': peftWeights }, fuzzedFile)),
  });
});
