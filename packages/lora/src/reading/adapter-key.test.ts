import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { guessComponent, readKey } from './adapter-key.js';

const block = 'mid_block.attentions.0.transformer_blocks.0';
const flat = block.replaceAll('.', '_');
const layer = 'text_model.encoder.layers.0';

// Every spelling that is read: the key, and the component, module and tensor that it means.
const spellings: readonly (readonly [key: string, component: string | undefined, module: string, part: string])[] = [
  // diffusers, now and at the times that its state_dict_utils.py converts from
  [`unet.${block}.attn1.to_q.lora_A.weight`, 'unet', `${block}.attn1.to_q`, 'lora_A'],
  [`unet.${block}.attn1.to_out.0.lora.up.weight`, 'unet', `${block}.attn1.to_out.0`, 'lora_B'],
  [`unet.${block}.attn1.processor.to_q_lora.down.weight`, 'unet', `${block}.attn1.to_q`, 'lora_A'],
  [`${block}.attn1.processor.to_out_lora.up.weight`, undefined, `${block}.attn1.to_out.0`, 'lora_B'],
  [`unet.${block}.attn1.processor.to_out_lora.alpha`, 'unet', `${block}.attn1.to_out.0`, 'alpha'],
  [`unet.${block}.attn1.to_out.lora_magnitude_vector`, 'unet', `${block}.attn1.to_out.0`, 'lora_magnitude_vector'],
  [`unet.${block}.ff.net.0.proj.lora.down.weight`, 'unet', `${block}.ff.net.0.proj`, 'lora_A'],
  [`text_encoder.${layer}.self_attn.to_q_lora.down.weight`, 'text_encoder', `${layer}.self_attn.q_proj`, 'lora_A'],
  [`text_encoder.${layer}.self_attn.to_out_lora.up.weight`, 'text_encoder', `${layer}.self_attn.out_proj`, 'lora_B'],
  [
    `text_encoder.${layer}.self_attn.q_proj.lora_linear_layer.down.weight`,
    'text_encoder',
    `${layer}.self_attn.q_proj`,
    'lora_A',
  ],
  [`text_encoder.${layer}.mlp.fc1.lora_linear_layer.alpha`, 'text_encoder', `${layer}.mlp.fc1`, 'alpha'],
  ['text_encoder_2.text_projection.lora.down.weight', 'text_encoder_2', 'text_projection', 'lora_A'],
  ['text_encoder.encoder.layers.0.mlp.fc1.lora_A.weight', 'text_encoder', 'encoder.layers.0.mlp.fc1', 'lora_A'],
  ['transformer.proj_out.lora_A.weight', 'transformer', 'proj_out', 'lora_A'],
  // peft
  [`base_model.model.${block}.attn1.to_q.lora_A.weight`, undefined, `${block}.attn1.to_q`, 'lora_A'],
  [`unet.base_model.model.${block}.attn1.to_q.lora_B.weight`, 'unet', `${block}.attn1.to_q`, 'lora_B'],
  [`text_encoder.base_model.model.${layer}.mlp.fc1.lora_A.weight`, 'text_encoder', `${layer}.mlp.fc1`, 'lora_A'],
  ['base_model.model.conv_in.lora_B.bias', undefined, 'conv_in', 'lora_B.bias'],
  ['base_model.model.conv_in.lora_magnitude_vector', undefined, 'conv_in', 'lora_magnitude_vector'],
  ['base_model.model.conv_in.lora_magnitude_vector.weight', undefined, 'conv_in', 'lora_magnitude_vector'],
  ['base_model.model.conv_in.hada_w1_a', undefined, 'conv_in', 'hada_w1_a'],
  ['base_model.model.conv_in.lokr_t2', undefined, 'conv_in', 'lokr_t2'],
  ['base_model.model.conv_in.ia3_l', undefined, 'conv_in', 'ia3_l'],
  [`unet.module.${block}.attn1.to_q.lora_A.weight`, 'unet', `${block}.attn1.to_q`, 'lora_A'],
  [`_orig_mod.base_model.model.${block}.attn1.to_q.lora_A.weight`, undefined, `${block}.attn1.to_q`, 'lora_A'],
  // kohya, sd-scripts of SDXL, LyCORIS, ComfyUI
  [`lora_unet_${flat}_attn1_to_q.lora_down.weight`, 'unet', `${flat}_attn1_to_q`, 'lora_A'],
  [`lora_unet_${flat}_attn1_to_q.alpha`, 'unet', `${flat}_attn1_to_q`, 'alpha'],
  [`lora_unet_${flat}_attn1_to_q.dora_scale`, 'unet', `${flat}_attn1_to_q`, 'dora_scale'],
  ['lora_unet_conv_in.lora_mid.weight', 'unet', 'conv_in', 'lora_mid'],
  [
    'lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight',
    'text_encoder',
    'text_model_encoder_layers_0_mlp_fc1',
    'lora_B',
  ],
  [
    'lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha',
    'text_encoder',
    'text_model_encoder_layers_0_mlp_fc1',
    'alpha',
  ],
  ['lora_te2_text_projection.lora_up.weight', 'text_encoder_2', 'text_projection', 'lora_B'],
  ['lora_te3_encoder_block_0.lora_up.weight', 'text_encoder_3', 'encoder_block_0', 'lora_B'],
  ['lora_unet_input_blocks_1_1_proj_in.lora_down.weight', 'unet', 'input_blocks_1_1_proj_in', 'lora_A'],
  ['lycoris_conv_in.lokr_w1', undefined, 'conv_in', 'lokr_w1'],
  ['lora_unet_conv_in.hada_t1', 'unet', 'conv_in', 'hada_t1'],
  ['lora_unet_conv_in.on_input', 'unet', 'conv_in', 'on_input'],
  ['lora_unet_conv_in.diff', 'unet', 'conv_in', 'diff'],
  ['lora_unet_conv_in.diff_b', 'unet', 'conv_in', 'diff_b'],
  ['lora_unet_conv_norm_out.w_norm', 'unet', 'conv_norm_out', 'diff'],
  ['lora_unet_conv_norm_out.b_norm', 'unet', 'conv_norm_out', 'diff_b'],
  ['diffusion_model.input_blocks.1.1.proj_in.lora_up.weight', 'unet', 'input_blocks.1.1.proj_in', 'lora_B'],
  [`text_encoders.clip_l.transformer.${layer}.mlp.fc1.lora_up.weight`, 'text_encoder', `${layer}.mlp.fc1`, 'lora_B'],
  [`clip_g.transformer.${layer}.mlp.fc1.lora_up.weight`, 'text_encoder_2', `${layer}.mlp.fc1`, 'lora_B'],
];

describe('readKey', () => {
  it.each(spellings)('reads %s', (key, component, module, part) => {
    expect(readKey(key)).toEqual({ component, module, part });
  });

  it.each([
    ['unet.conv_in.lora_A.my_style.weight', 'lora_A', 'my_style'],
    ['base_model.model.conv_in.lora_B.default.weight', 'lora_B', 'default'],
    ['base_model.model.conv_in.lora_B.default.bias', 'lora_B.bias', 'default'],
    ['base_model.model.conv_in.lora_magnitude_vector.default', 'lora_magnitude_vector', 'default'],
    ['base_model.model.conv_in.lora_magnitude_vector.default.weight', 'lora_magnitude_vector', 'default'],
    ['base_model.model.conv_in.hada_w1_a.default', 'hada_w1_a', 'default'],
    ['base_model.model.conv_in.lokr_w2.default', 'lokr_w2', 'default'],
    ['base_model.model.conv_in.ia3_l.default', 'ia3_l', 'default'],
  ])("reads the adapter's name in %s", (key, part, adapterName) => {
    expect(readKey(key)).toMatchObject({ module: 'conv_in', part, adapterName });
  });

  it('reads these endings behind every module, and throws at no key', () => {
    const name = fc
      .stringMatching(/^[a-z][a-z0-9_]{0,8}$/)
      .filter(
        (part) =>
          !/^(?:unet|transformer|text_encoder|processor|lora|clip_[lg]|module|_orig_mod)$|^lycoris_|^lora_/.test(part),
      );
    const module = fc.array(name, { minLength: 1, maxLength: 5 }).map((parts) => parts.join('.'));
    fc.assert(
      fc.property(module, (path) => {
        const unet = { component: 'unet', module: path };
        expect(readKey(`unet.${path}.lora.down.weight`)).toEqual({ ...unet, part: 'lora_A' });
        expect(readKey(`unet.${path}.lora_B.weight`)).toEqual({ ...unet, part: 'lora_B' });
        expect(readKey(`base_model.model.unet.${path}.lora_A.weight`)).toEqual({ ...unet, part: 'lora_A' });
        const flattened = path.replaceAll('.', '_');
        expect(readKey(`lora_unet_${flattened}.alpha`)).toEqual({
          component: 'unet',
          module: flattened,
          part: 'alpha',
        });
        for (const key of [`${path}.weight`, `unet.${path}.bias`, path]) expect(readKey(key)).toBeUndefined();
      }),
    );
    fc.assert(fc.property(fc.string(), (key) => void readKey(key)));
  });
});

describe('guessComponent', () => {
  it.each([
    ['text_model.encoder.layers.0.mlp.fc1', 'unet', 'text_encoder'],
    ['encoder_layers_0_mlp_fc1', 'unet', 'text_encoder'],
    ['encoder.layers.0.mlp.fc1', 'text_encoder_2', 'text_encoder_2'],
    ['down_blocks_0_resnets_0_conv1', 'text_encoder', 'unet'],
    ['time_embedding.linear_1', 'text_encoder', 'unet'],
    ['attn1.to_q', 'text_encoder', 'text_encoder'],
    ['attn1.to_q', 'unet', 'unet'],
  ])('finds the part of the pipeline of %s, asked for %s', (module, wanted, component) => {
    expect(guessComponent(module, wanted)).toBe(component);
  });
});
