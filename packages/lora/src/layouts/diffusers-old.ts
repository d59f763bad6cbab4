import { saveSafetensors } from '@alignprop/autograd-ext/weights';
import { joinComponent, partOf, splitComponent } from './lora-key.js';
import type { LoraLayout } from './lora-layout.js';

const endings = { lora_A: 'lora.down.weight', lora_B: 'lora.up.weight' } as const;

/** TRL's AlignPropTrainer and older diffusers: `unet.….to_q.lora.down.weight`. α is not stored. */
export const diffusersOld = {
  name: 'diffusers-old',
  encodeKey: ({ component, module, part }) =>
    part === 'alpha' ? undefined : `${joinComponent(component, module)}.${endings[part]}`,
  decodeKey: (key) => {
    const [, path, ending] = /^(.+)\.lora\.(down|up)\.weight$/.exec(key) ?? [];
    return path && ending ? { ...splitComponent(path), part: partOf[ending]! } : undefined;
  },
  writer: {
    isFolder: false,
    alpha: 'nowhere',
    write: (path, tensors) => saveSafetensors(path, tensors, { format: 'pt' }),
  },
} as const satisfies LoraLayout;
