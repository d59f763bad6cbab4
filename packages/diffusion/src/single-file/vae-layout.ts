import { toMatrix } from '../models/autoencoder-kl.js';
import type { ConfigInput } from '../models/model-config.js';
import type { CheckpointKind, Weights } from './checkpoint-kind.js';

const prefix = 'first_stage_model.';

/** diffusers' names of the parts of the VAE, applied in this order. */
const renames: readonly (readonly [RegExp, string])[] = [
  [/^encoder\.down\.(\d+)\.block\.(\d+)\./, 'encoder.down_blocks.$1.resnets.$2.'],
  [/^encoder\.down\.(\d+)\.downsample\./, 'encoder.down_blocks.$1.downsamplers.0.'],
  [/^decoder\.up\.(\d+)\.block\.(\d+)\./, 'decoder.up_blocks.$1.resnets.$2.'],
  [/^decoder\.up\.(\d+)\.upsample\./, 'decoder.up_blocks.$1.upsamplers.0.'],
  [/\.nin_shortcut\./, '.conv_shortcut.'],
  [/\.norm_out\./, '.conv_norm_out.'],
  [/\.mid\.block_1\./, '.mid_block.resnets.0.'],
  [/\.mid\.block_2\./, '.mid_block.resnets.1.'],
  [/\.mid\.attn_1\.norm\./, '.mid_block.attentions.0.group_norm.'],
  [/\.mid\.attn_1\.([qkv])\./, '.mid_block.attentions.0.to_$1.'],
  [/\.mid\.attn_1\.proj_out\./, '.mid_block.attentions.0.to_out.0.'],
];

/** Renames the weights of the VAE in a checkpoint as diffusers does, which counts the decoder's levels from below. */
export function vaeWeights(weights: Weights): Weights {
  const own = [...weights].filter(([key]) => key.startsWith(prefix) && !/^first_stage_model\.loss\./.test(key));
  const names = own.map(([key]) =>
    renames.reduce((name, [from, to]) => name.replace(from, to), key.slice(prefix.length)),
  );
  const levels = 1 + Math.max(0, ...names.map((name) => Number(/^decoder\.up_blocks\.(\d+)/.exec(name)?.[1] ?? 0)));
  return new Map(
    own.map(([, tensor], i) => {
      const name = names[i]!.replace(
        /^decoder\.up_blocks\.(\d+)/,
        (_, level: string) => `decoder.up_blocks.${levels - 1 - Number(level)}`,
      );
      return [name, /\.attentions\.0\.to_.*\.weight$/.test(name) ? toMatrix(tensor) : tensor];
    }),
  );
}

/** Factors that latents are multiplied with; they are not in the file. */
const scalingFactors = { 'Stable Diffusion 1.x': 0.18215, 'Stable Diffusion 2.x': 0.18215, SDXL: 0.13025 } as const;

/** The config of a VAE, from the shapes of its weights under diffusers' names. */
export function vaeConfig(weights: Weights, kind: CheckpointKind): ConfigInput {
  const shape = (key: string): readonly number[] => weights.get(key)?.shape ?? [];
  const channels: number[] = [];
  for (let i = 0; weights.has(`encoder.down_blocks.${i}.resnets.0.conv1.weight`); i++)
    channels.push(shape(`encoder.down_blocks.${i}.resnets.0.conv1.weight`)[0]!);
  let layers = 0;
  while (weights.has(`encoder.down_blocks.0.resnets.${layers}.conv1.weight`)) layers++;
  return {
    in_channels: shape('encoder.conv_in.weight')[1],
    out_channels: shape('decoder.conv_out.weight')[0],
    latent_channels: shape('decoder.conv_in.weight')[1],
    block_out_channels: channels,
    layers_per_block: layers,
    down_block_types: channels.map(() => 'DownEncoderBlock2D'),
    up_block_types: channels.map(() => 'UpDecoderBlock2D'),
    scaling_factor: scalingFactors[kind],
    use_quant_conv: weights.has('quant_conv.weight'),
    use_post_quant_conv: weights.has('post_quant_conv.weight'),
  };
}
