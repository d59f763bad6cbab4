import { encodeFields, peftConfig, peftDora, peftFields } from './peft-config.js';
import { peftEndings } from './lora-key.js';
import type { LoraLayout } from './lora-layout.js';

/**
 * peft: `base_model.model.….to_q.lora_A.weight`, in a folder with an adapter_config.json that holds r, α and targets.
 */
export const peft = {
  name: 'peft',
  encodeKey: ({ module, part }) => `base_model.model.${module}.${peftEndings[part]}`,
  writer: {
    alpha: 'config',
    dora: peftDora,
    header: () => ({ format: 'pt' }),
    config: (component) => encodeFields(peftFields(peftConfig(component), { inferenceMode: true })),
  },
} as const satisfies LoraLayout;
