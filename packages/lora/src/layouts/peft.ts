import { saveSafetensors, writeFileAtomic } from '@alignprop/autograd-ext/weights';
import { peftConfig, peftDora, peftJson } from './peft-config.js';
import { partOf, splitComponent } from './lora-key.js';
import type { LoraLayout } from './lora-layout.js';

const endings = {
  lora_A: 'lora_A.weight',
  lora_B: 'lora_B.weight',
  alpha: 'alpha',
  magnitude: 'lora_magnitude_vector',
} as const;

/** The files of a peft folder. */
export const peftFiles = { weights: 'adapter_model.safetensors', config: 'adapter_config.json' } as const;

const keyPattern = new RegExp(
  String.raw`^base_model\.model\.(.+)\.(?:(?:lora\.(down|up)|(lora_A|lora_B|lora_down|lora_up))\.weight|` +
    String.raw`(alpha|lora_magnitude_vector))$`,
);

/**
 * peft: `base_model.model.….to_q.lora_A.weight`, in a folder with an adapter_config.json that holds r, α and targets.
 * Also reads every other spelling of A and B behind the prefix.
 */
export const peft = {
  name: 'peft',
  encodeKey: ({ module, part }) => `base_model.model.${module}.${endings[part]}`,
  decodeKey: (key) => {
    const [, path, old, matrix, vector] = keyPattern.exec(key) ?? [];
    const part = partOf[old ?? matrix ?? vector ?? ''];
    return path && part ? { ...splitComponent(path), part } : undefined;
  },
  writer: {
    isFolder: true,
    alpha: 'config',
    dora: peftDora,
    write: async (path, tensors, [component]) => {
      const config = peftJson(peftConfig(component!), { inferenceMode: true });
      await saveSafetensors(`${path}/${peftFiles.weights}`, tensors, { format: 'pt' });
      await writeFileAtomic(`${path}/${peftFiles.config}`, new TextEncoder().encode(config));
    },
  },
} as const satisfies LoraLayout;
