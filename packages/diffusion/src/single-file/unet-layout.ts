import { table } from '@alignprop/autograd-ext/outside';
import type { ConfigInput } from '../models/model-config.js';
import { unetPrefix, type CheckpointKind, type Weights } from './checkpoint-kind.js';

/** diffusers' names of the parts of a residual block. */
const resnetNames = table({
  'in_layers.0': 'norm1',
  'in_layers.2': 'conv1',
  'emb_layers.1': 'time_emb_proj',
  'out_layers.0': 'norm2',
  'out_layers.3': 'conv2',
  skip_connection: 'conv_shortcut',
});

/** diffusers' names of the modules that every UNet has. */
const fixedNames = table({
  'input_blocks.0.0': 'conv_in',
  'time_embed.0': 'time_embedding.linear_1',
  'time_embed.2': 'time_embedding.linear_2',
  'label_emb.0.0': 'add_embedding.linear_1',
  'label_emb.0.2': 'add_embedding.linear_2',
  'middle_block.0': 'mid_block.resnets.0',
  'middle_block.1': 'mid_block.attentions.0',
  'middle_block.2': 'mid_block.resnets.1',
  'out.0': 'conv_norm_out',
  'out.2': 'conv_out',
});

/** Renames the weights of the UNet in a checkpoint as diffusers does. */
export function unetWeights(weights: Weights): Weights {
  const own = new Map(
    [...weights]
      .filter(([key]) => key.startsWith(unetPrefix))
      .map(([key, tensor]) => [key.slice(unetPrefix.length), tensor]),
  );
  const names = moduleNames(own);
  return new Map([...own].map(([key, tensor]) => [renamed(key, names), tensor]));
}

/** Replaces the module's name, which has two to four parts, and the names within a residual block. */
function renamed(key: string, names: ReadonlyMap<string, string>): string {
  const parts = key.split('.');
  for (const length of [4, 3, 2]) {
    const name = names.get(parts.slice(0, length).join('.'));
    if (name === undefined) continue;
    const rest = parts.slice(length).join('.');
    return `${name}.${name.includes('.resnets.') ? withResnetNames(rest) : rest}`;
  }
  return key;
}

function withResnetNames(rest: string): string {
  const [part] = Object.entries(resnetNames).filter(([original]) => rest.startsWith(`${original}.`));
  return part ? `${part[1]}${rest.slice(part[0].length)}` : rest;
}

/** diffusers' names of all modules: `input_blocks.4.1` is `down_blocks.1.attentions.0`. */
function moduleNames(weights: Weights): ReadonlyMap<string, string> {
  const names = new Map(Object.entries(fixedNames));
  const keys = [...weights.keys()];
  const hasBlock = (block: string) => keys.some((key) => key.startsWith(`${block}.`));
  let place = { level: 0, layer: 0 };
  for (let i = 1; hasBlock(`input_blocks.${i}`); i++) {
    const block = `input_blocks.${i}`;
    if (weights.has(`${block}.0.op.weight`)) {
      names.set(`${block}.0.op`, `down_blocks.${place.level}.downsamplers.0.conv`);
      place = { level: place.level + 1, layer: 0 };
    } else {
      names.set(`${block}.0`, `down_blocks.${place.level}.resnets.${place.layer}`);
      names.set(`${block}.1`, `down_blocks.${place.level}.attentions.${place.layer}`);
      place = { ...place, layer: place.layer + 1 };
    }
  }
  place = { level: 0, layer: 0 };
  for (let i = 0; hasBlock(`output_blocks.${i}`); i++) {
    const block = `output_blocks.${i}`;
    names.set(`${block}.0`, `up_blocks.${place.level}.resnets.${place.layer}`);
    names.set(`${block}.1`, `up_blocks.${place.level}.attentions.${place.layer}`);
    const upsampler = [1, 2].find((j) => weights.has(`${block}.${j}.conv.weight`)); // after the attention, if any
    if (upsampler) names.set(`${block}.${upsampler}`, `up_blocks.${place.level}.upsamplers.0`);
    place = upsampler ? { level: place.level + 1, layer: 0 } : { ...place, layer: place.layer + 1 };
  }
  return names;
}

/** The size of images that models of each kind were trained for, in latents. */
const sampleSizes = { 'Stable Diffusion 1.x': 64, 'Stable Diffusion 2.x': 96, SDXL: 128 } as const;
const HEAD_WIDTH = 64; // of Stable Diffusion 2.x and SDXL
const SD1_HEADS = 8;
const TIME_IDS = 6;

/**
 * The config of a UNet, from the shapes of its weights under diffusers' names. The number of heads is not in the file:
 * that of the published models of the kind.
 * @param pooledWidth width of SDXL's pooled text
 */
export function unetConfig(weights: Weights, kind: CheckpointKind, pooledWidth: number | undefined): ConfigInput {
  const keys = [...weights.keys()];
  const shape = (key: string): readonly number[] => weights.get(key)?.shape ?? [];
  const countOf = (prefix: string) =>
    new Set(keys.filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length).split('.')[0])).size;
  const levels = Array.from({ length: countOf('down_blocks.') }, (_, i) => i);
  const channels = levels.map((i) => shape(`down_blocks.${i}.resnets.0.conv1.weight`)[0] ?? 0);
  const depths = levels.map((i) => countOf(`down_blocks.${i}.attentions.0.transformer_blocks.`));
  const attends = depths.map((depth) => depth > 0);
  const middle = countOf('mid_block.attentions.0.transformer_blocks.');
  const block = (name: 'down_blocks' | 'mid_block', i: number) =>
    name === 'mid_block' ? 'mid_block.attentions.0' : `down_blocks.${i}.attentions.0`;
  const attention = block(attends.includes(true) ? 'down_blocks' : 'mid_block', attends.indexOf(true));
  const added = shape('add_embedding.linear_1.weight')[1];
  return {
    in_channels: shape('conv_in.weight')[1],
    out_channels: shape('conv_out.weight')[0],
    sample_size: sampleSizes[kind],
    block_out_channels: channels,
    layers_per_block: countOf('down_blocks.0.resnets.'),
    down_block_types: attends.map((does) => (does ? 'CrossAttnDownBlock2D' : 'DownBlock2D')),
    up_block_types: attends.toReversed().map((does) => (does ? 'CrossAttnUpBlock2D' : 'UpBlock2D')),
    transformer_layers_per_block: depths.map((depth, i) => (i === depths.length - 1 ? depth || middle : depth || 1)),
    cross_attention_dim: shape(`${attention}.transformer_blocks.0.attn2.to_k.weight`)[1],
    use_linear_projection: shape(`${attention}.proj_in.weight`).length === 2,
    attention_head_dim:
      kind === 'Stable Diffusion 1.x' ? SD1_HEADS : channels.map((width) => Math.max(1, width / HEAD_WIDTH)),
    ...(added !== undefined && {
      addition_embed_type: 'text_time',
      projection_class_embeddings_input_dim: added,
      addition_time_embed_dim: (added - (pooledWidth ?? 0)) / TIME_IDS,
    }),
  };
}
