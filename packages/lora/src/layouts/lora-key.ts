/** One of the tensors of an adapted module: A, B, the scalar α or DoRA's m. */
export type LoraPart = 'lora_A' | 'lora_B' | 'alpha' | 'magnitude';

/** The tensor that a key of a LoRA file names. */
export interface LoraKey {
  /** The part of the pipeline: `unet`, `text_encoder`, …; undefined where the key does not name it. */
  readonly component: string | undefined;
  /** The module's path, `mid_block.attentions.0.to_q`; kohya writes underscores in place of the dots. */
  readonly module: string;
  readonly part: LoraPart;
  /** Whether the model has two text encoders, whose names kohya numbers. */
  readonly isXL?: boolean;
}

/** The ends of peft's keys, which diffusers writes too. */
export const peftEndings = {
  lora_A: 'lora_A.weight',
  lora_B: 'lora_B.weight',
  alpha: 'alpha',
  magnitude: 'lora_magnitude_vector',
} as const satisfies Readonly<Record<LoraPart, string>>;

/** Returns the path of a module behind its component: `unet.mid_block.to_q`. */
export const joinComponent = (component: string | undefined, module: string): string =>
  component ? `${component}.${module}` : module;
