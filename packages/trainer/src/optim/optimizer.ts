import type { StoredTensor } from '@alignprop/autograd-ext';
import type { SafetensorsEntry } from '@alignprop/autograd-ext/weights';
import type { Gradients } from './gradients.js';

/** Moves variables by their gradients, and can be kept in a checkpoint. */
export interface Optimizer {
  /** Steps taken. */
  readonly steps: number;
  /** Bytes of what it remembers. */
  readonly bytes: number;
  /** Moves every variable. Not to be called inside a `tidy`. */
  step(gradients: Gradients, learningRate?: number): void;
  /** What it remembers, named for a safetensors file by kind and parameter path. Tensors stay the optimizer's. */
  save(): Record<string, SafetensorsEntry>;
  /** Takes over what `save` gave another one for the same variables. When it throws, it is as before. */
  load(steps: number, stored: Readonly<Record<string, StoredTensor>>): Promise<void>;
  dispose(): void;
}
