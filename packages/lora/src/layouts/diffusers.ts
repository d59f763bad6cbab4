import { encodeFields, peftConfig, peftDora, peftFields } from './peft-config.js';
import { joinComponent, peftEndings, type LoraPart } from './lora-key.js';
import type { AdaptedComponent, LoraLayout } from './lora-layout.js';

/** diffusers: `unet.….to_q.lora_A.weight`, with r, α and targets in the header of the file. */
export const diffusers = {
  name: 'diffusers',
  encodeKey: ({ component, module, part }) =>
    `${joinComponent(component, module)}.${peftEndings[part]}${isTextMagnitude(component, part) ? '.weight' : ''}`,
  writer: {
    alpha: 'config',
    dora: peftDora,
    header: (_, components) => ({ format: 'pt', lora_adapter_metadata: metadataOf(components) }),
  },
} as const satisfies LoraLayout;

/** transformers, which loads text encoders for diffusers, knows m only by the name of its parameter. */
const isTextMagnitude = (component: string | undefined, part: LoraPart): boolean =>
  part === 'magnitude' && !!component?.startsWith('text_encoder');

/** The configurations of all components in one JSON object; each field is named after its component. */
function metadataOf(components: readonly AdaptedComponent[]): string {
  const fields = components.map((component) => peftFields(peftConfig(component), { prefix: component.prefix }));
  return encodeFields(Object.assign({}, ...fields) as Readonly<Record<string, unknown>>);
}
