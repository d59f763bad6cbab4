/** One of the tensors of an adapted module: A, B, the scalar α or DoRA's m. */
export type LoraPart = 'lora_A' | 'lora_B' | 'alpha' | 'magnitude';

/** The meaning of one key of a LoRA file. */
export interface LoraKey {
  /** The part of the pipeline: `unet`, `text_encoder`, …; undefined where the key does not name it. */
  readonly component: string | undefined;
  /** The module's path, `mid_block.attentions.0.to_q`; kohya writes underscores in place of the dots. */
  readonly module: string;
  readonly part: LoraPart;
}

/** Every spelling of A, B, α and m that a key may end in. */
export const partOf: Readonly<Record<string, LoraPart>> = {
  lora_A: 'lora_A',
  lora_down: 'lora_A',
  down: 'lora_A',
  lora_B: 'lora_B',
  lora_up: 'lora_B',
  up: 'lora_B',
  alpha: 'alpha',
  lora_magnitude_vector: 'magnitude',
  dora_scale: 'magnitude',
};

const components = /^(unet|text_encoder|text_encoder_2|transformer)\.(.+)$/;

/** Splits `unet.mid_block.to_q` into its component and its module; a path without a known component is all module. */
export function splitComponent(path: string): Pick<LoraKey, 'component' | 'module'> {
  const [, component, module] = components.exec(path) ?? [];
  return { component, module: module ?? path };
}

/** The inverse of `splitComponent`. */
export const joinComponent = (component: string | undefined, module: string): string =>
  component ? `${component}.${module}` : module;
