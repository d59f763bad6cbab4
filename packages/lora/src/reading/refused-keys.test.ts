import { describe, expect, it } from 'vitest';
import { refusedKey } from './refused-keys.js';

describe('refusedKey', () => {
  it.each([
    ['lora_unet_mid_block_attentions_0_proj_in.oft_blocks', 'OFT'],
    ['lora_unet_mid_block_attentions_0_proj_in.oft_diag', 'OFT'],
    ['base_model.model.conv_in.oft_r.default', 'OFT'],
    ['base_model.model.conv_in.boft_R', 'BOFT'],
    ['lora_unet_mid_block_attentions_0_proj_in.a1.weight', 'GLoRA'],
    ['lora_unet_mid_block_attentions_0_proj_in.b2.weight', 'GLoRA'],
    ['base_model.vera_A', 'VeRA'],
    ['base_model.model.to_q.vera_lambda_d', 'VeRA'],
    ['base_model.model.to_q.lora_E', 'AdaLoRA'],
    ['text_encoder.text_model.embeddings.token_embedding.lora_embedding_A', 'LoRA of token embeddings'],
    ['base_model.model.to_q.fourierft_spectrum', "peft's other methods"],
    ['down_blocks.0.attentions.0.attn2.processor.to_k_custom_diffusion.weight', 'Custom Diffusion'],
    ['unet:0:down', 'cloneofsimo'],
    ['12', 'cloneofsimo'],
    ['diffusion_model.input_blocks.0.0.set_weight', 'ComfyUI'],
    ['diffusion_model.input_blocks.0.0.reshape_weight', 'ComfyUI'],
    ['unet.mid_block.attentions.0.to_q.base_layer.weight', 'whole model'],
    ['base_model.model.to_out.0.base_layer.bias', 'biases trained beside'],
    ['conv_in.weight', 'whole model'],
    ['text_model.embeddings.token_embedding.weight', 'whole model'],
    ['image_proj.proj.weight', 'IP-Adapter'],
    ['ip_adapter.1.to_k_ip.weight', 'IP-Adapter'],
    ['lora_controlnet', 'ControlLoRA'],
    ['input_hint_block.0.weight', 'ControlLoRA'],
    ['emb_params', 'textual inversion'],
    ['string_to_param.*', 'textual inversion'],
    ['model.diffusion_model.input_blocks.0.0.weight', 'whole model'],
    ['cond_stage_model.transformer.text_model.final_layer_norm.weight', 'whole model'],
    ['lora_unet_double_blocks_0_img_attn_proj.lora_down.weight', 'transformer (Flux'],
    ['transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight', 'transformer (Flux'],
    ['diffusion_model.joint_blocks.0.x_block.attn.qkv.lora_up.weight', 'transformer (Flux'],
    ['lora_prior_unet_down_blocks_0.lora_up.weight', 'Stable Cascade'],
    ['down_blocks.0.motion_modules.0.proj_in.processor.to_q_lora.down.weight', 'video model'],
  ])('names the kind of %s', (key, kind) => {
    expect(refusedKey(key)?.kind).toContain(kind);
    expect(refusedKey(key)?.advice).toMatch(/\.$/);
  });

  it.each([
    'unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight',
    'lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_down.weight',
    'model.diffusion_model.input_blocks.1.1.proj_in.lora_up.weight',
    'bundle_emb.sks.clip_l',
  ])('leaves %s to be read', (key) => expect(refusedKey(key)).toBeUndefined());
});
