import { table } from '@alignprop/autograd-ext/outside';
import type { DoraAxis } from '../dora.js';
import type { LoraLayout } from './lora-layout.js';

const endings = {
  lora_A: 'lora_down.weight',
  lora_B: 'lora_up.weight',
  alpha: 'alpha',
  magnitude: 'dora_scale',
} as const;

/** kohya's names of the text encoders: of a model that has one, and of SDXL. */
const names = table<string>({ text_encoder: 'te' });
const namesOfTwo = table<string>({ text_encoder: 'te1', text_encoder_2: 'te2' });

/** Returns the shape of `dora_scale`: [out, 1] or [out, 1, 1, 1], along the inputs [1, in] or [1, in, 1, 1]. */
const kohyaShape = (length: number, rank: number, axis: DoraAxis): number[] =>
  Array.from({ length: rank }, (_, i) => (i === (axis === 'output' ? 0 : 1) ? length : 1));

/**
 * kohya, A1111, ComfyUI: `lora_unet_mid_block_attentions_0_to_out_0.lora_down.weight`, `.lora_up.weight` and, for each
 * module, `.alpha`; with DoRA also `.dora_scale`.
 */
export const kohya = {
  name: 'kohya',
  encodeKey: ({ component = '', module, part, isXL = component === 'text_encoder_2' }) =>
    `lora_${(isXL ? namesOfTwo : names)[component] ?? component}_${underscoredPath(module)}.${endings[part]}`,
  writer: {
    alpha: 'tensor',
    dora: { axes: ['output', 'input'], perModule: true, shape: kohyaShape },
    header: (tensors, [component]) => {
      const { r } = Object.values(component!.adapters)[0]!;
      const [, alpha] = Object.entries(tensors).find(([key]) => key.endsWith('.alpha'))!;
      return {
        ss_network_dim: `${r}`,
        ss_network_alpha: `${alpha.data[0]}`,
        ss_network_module: 'networks.lora',
      };
    },
  },
} as const satisfies LoraLayout;

/** A module's path as kohya writes it. Different paths can give the same name. */
export const underscoredPath = (module: string): string => module.replaceAll('.', '_');
