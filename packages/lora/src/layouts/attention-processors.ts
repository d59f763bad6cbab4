import { joinComponent, partOf, splitComponent } from './lora-key.js';
import type { LoraLayout } from './lora-layout.js';

const endings = { lora_A: 'down.weight', lora_B: 'up.weight', alpha: 'alpha' } as const;

/** diffusers' attention processors of 2023, only read: `unet.….attn1.processor.to_out_lora.down.weight`. */
export const attentionProcessors = {
  name: 'attention-processors',
  encodeKey: ({ component, module, part }) => {
    if (part === 'magnitude') return undefined;
    const [, attention, layer] = /^(.+)\.(to_q|to_k|to_v|to_out\.0)$/.exec(module) ?? [];
    if (!attention) return undefined;
    const name = layer === 'to_out.0' ? 'to_out' : layer;
    return `${joinComponent(component, attention)}.processor.${name}_lora.${endings[part]}`;
  },
  decodeKey: (key) => {
    const [, attention, layer, matrix, alpha] =
      /^(.+)\.processor\.(to_q|to_k|to_v|to_out)_lora\.(?:(down|up)\.weight|(alpha))$/.exec(key) ?? [];
    const part = partOf[matrix ?? alpha ?? ''];
    if (!attention || !part) return undefined;
    const name = layer === 'to_out' ? 'to_out.0' : layer;
    return { ...splitComponent(`${attention}.${name}`), part };
  },
} as const satisfies LoraLayout;
