import { saveSafetensors, writeFileAtomic } from '@alignprop/autograd-ext/weights';
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
    isFolder: true,
    alpha: 'config',
    dora: peftDora,
    write: async (path, tensors, [component]) => {
      const config = encodeFields(peftFields(peftConfig(component!), { inferenceMode: true }));
      await saveSafetensors(`${path}/adapter_model.safetensors`, tensors, { format: 'pt' });
      await writeFileAtomic(`${path}/adapter_config.json`, new TextEncoder().encode(config));
    },
  },
} as const satisfies LoraLayout;
