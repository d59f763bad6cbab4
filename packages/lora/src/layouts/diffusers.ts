import { saveSafetensors } from '@alignprop/autograd-ext/weights';
import { peftConfig, peftDora, peftJson } from './peft-config.js';
import { joinComponent, partOf, splitComponent, type LoraPart } from './lora-key.js';
import type { AdaptedComponent, LoraLayout } from './lora-layout.js';

const endings = {
  lora_A: 'lora_A.weight',
  lora_B: 'lora_B.weight',
  alpha: 'alpha',
  magnitude: 'lora_magnitude_vector',
} as const;

/**
 * diffusers: `unet.….to_q.lora_A.weight`, with r, α and targets in the header of the file. Also reads kohya's endings
 * (`lora_down`, `lora_up`) and α as a tensor of its own.
 */
export const diffusers = {
  name: 'diffusers',
  encodeKey: ({ component, module, part }) =>
    `${joinComponent(component, module)}.${endings[part]}${isTextMagnitude(component, part) ? '.weight' : ''}`,
  decodeKey: (key) => {
    const [, path, matrix, alpha, vector] =
      /^(.+)\.(?:(lora_A|lora_B|lora_down|lora_up)\.weight|(alpha)|(lora_magnitude_vector)(?:\.weight)?)$/.exec(key) ??
      [];
    const part = partOf[matrix ?? alpha ?? vector ?? ''];
    return path && part ? { ...splitComponent(path), part } : undefined;
  },
  writer: {
    isFolder: false,
    alpha: 'config',
    dora: peftDora,
    write: (path, tensors, components) =>
      saveSafetensors(path, tensors, { format: 'pt', lora_adapter_metadata: metadataOf(components) }),
  },
} as const satisfies LoraLayout;

/** transformers, which loads text encoders for diffusers, knows m only by the name of its parameter. */
const isTextMagnitude = (component: string | undefined, part: LoraPart): boolean =>
  part === 'magnitude' && !!component?.startsWith('text_encoder');

/** The configurations of all components in one JSON object; each field is named after its component. */
function metadataOf(components: readonly AdaptedComponent[]): string {
  const configs = components.map((component) => peftJson(peftConfig(component), { prefix: component.prefix }));
  if (configs.length === 1) return configs[0]!;
  const fields = configs.map((config) => JSON.parse(config) as object);
  return JSON.stringify(Object.assign({}, ...fields), null, 2);
}
