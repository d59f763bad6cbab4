import { describe, expect, it } from 'vitest';
import { originalNames } from './original-names.js';

/** The modules of a UNet by the numbers of its blocks, which of them have attention, and residual blocks in a block. */
function modulesOf(attentions: readonly boolean[], layers: number): string[] {
  const last = attentions.length - 1;
  const block = (side: string, i: number, hasAttention: boolean, count: number) =>
    Array.from({ length: count }, (_, j) => [
      `${side}_blocks.${i}.resnets.${j}.conv1`,
      `${side}_blocks.${i}.resnets.${j}.conv_shortcut`,
      ...(hasAttention ? [`${side}_blocks.${i}.attentions.${j}.proj_in`] : []),
    ]).flat();
  return [
    ...['conv_in', 'conv_out', 'conv_norm_out', 'time_embedding.linear_1', 'add_embedding.linear_2'],
    ...['mid_block.resnets.0.norm1', 'mid_block.attentions.0.proj_out', 'mid_block.resnets.1.time_emb_proj'],
    ...attentions.flatMap((has, i) => block('down', i, has, layers)),
    ...attentions.flatMap((_, i) => block('up', i, attentions[last - i]!, layers + 1)),
    ...attentions
      .slice(1)
      .flatMap((_, i) => [`down_blocks.${i}.downsamplers.0.conv`, `up_blocks.${i}.upsamplers.0.conv`]),
  ];
}

// The names in the checkpoints v1-5-pruned.ckpt (SD 1 and 2 have the same blocks) and sd_xl_base_1.0.safetensors.
const sd1 = [
  ['conv_in', 'input_blocks.0.0'],
  ['conv_norm_out', 'out.0'],
  ['conv_out', 'out.2'],
  ['time_embedding.linear_1', 'time_embed.0'],
  ['add_embedding.linear_2', 'label_emb.0.2'],
  ['down_blocks.0.resnets.0.conv1', 'input_blocks.1.0.in_layers.2'],
  ['down_blocks.0.attentions.1.proj_in', 'input_blocks.2.1.proj_in'],
  ['down_blocks.0.downsamplers.0.conv', 'input_blocks.3.0.op'],
  ['down_blocks.1.resnets.0.conv_shortcut', 'input_blocks.4.0.skip_connection'],
  ['down_blocks.2.downsamplers.0.conv', 'input_blocks.9.0.op'],
  ['down_blocks.3.resnets.1.conv1', 'input_blocks.11.0.in_layers.2'],
  ['mid_block.resnets.0.norm1', 'middle_block.0.in_layers.0'],
  ['mid_block.attentions.0.proj_out', 'middle_block.1.proj_out'],
  ['mid_block.resnets.1.time_emb_proj', 'middle_block.2.emb_layers.1'],
  ['up_blocks.0.resnets.2.conv1', 'output_blocks.2.0.in_layers.2'],
  ['up_blocks.0.upsamplers.0.conv', 'output_blocks.2.1.conv'],
  ['up_blocks.1.attentions.2.proj_in', 'output_blocks.5.1.proj_in'],
  ['up_blocks.1.upsamplers.0.conv', 'output_blocks.5.2.conv'],
  ['up_blocks.3.resnets.2.conv_shortcut', 'output_blocks.11.0.skip_connection'],
] as const;
const sdxl = [
  ['down_blocks.1.attentions.0.proj_in', 'input_blocks.4.1.proj_in'],
  ['down_blocks.2.resnets.1.conv1', 'input_blocks.8.0.in_layers.2'],
  ['up_blocks.0.upsamplers.0.conv', 'output_blocks.2.2.conv'],
  ['up_blocks.2.resnets.2.conv1', 'output_blocks.8.0.in_layers.2'],
] as const;

describe('originalNames', () => {
  it.each([
    ['Stable Diffusion 1 and 2', sd1, modulesOf([true, true, true, false], 2)],
    ['Stable Diffusion XL', sdxl, modulesOf([false, true, true], 2)],
  ] as const)('numbers the blocks of %s as the original code does', (_, expected, modules) => {
    const names = originalNames(modules);
    expect(expected.map(([module]) => [module, ...(names.get(module) ?? [])])).toEqual(expected);
    expect(new Set([...names.values()].flat()).size).toBe(names.size);
  });

  it('has no names for modules of other models', () => {
    expect(originalNames(['text_model.encoder.layers.0.mlp.fc1', 'to_q', ''])).toEqual(new Map());
  });
});
