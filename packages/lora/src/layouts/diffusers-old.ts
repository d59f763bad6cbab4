import { joinComponent } from './lora-key.js';
import type { LoraLayout } from './lora-layout.js';

const endings = { lora_A: 'down.weight', lora_B: 'up.weight' } as const;

/**
 * TRL's AlignPropTrainer and older diffusers: `unet.….to_q.lora.down.weight`. diffusers recognises text encoders by
 * other keys (`convert_state_dict_to_diffusers`): `text_encoder.….q_proj.lora_linear_layer.down.weight`. α is not
 * stored, and there is no key for DoRA's m.
 */
export const diffusersOld = {
  name: 'diffusers-old',
  encodeKey: ({ component, module, part }) =>
    part === 'alpha' || part === 'magnitude'
      ? undefined
      : `${joinComponent(component, module)}.${adapterName(component)}.${endings[part]}`,
  writer: {
    alpha: 'nowhere',
    header: () => ({ format: 'pt' }),
  },
} as const satisfies LoraLayout;

const adapterName = (component = 'unet'): string =>
  component.startsWith('text_encoder') ? 'lora_linear_layer' : 'lora';
