import type { StoredTensor } from '@alignprop/autograd-ext';
import type { SafetensorsEntry } from '@alignprop/autograd-ext/weights';
import type { Gradients } from './gradients.js';

/** Moves variables by their gradients. Its state can be saved in checkpoints. */
export interface Optimizer {
  /** Steps taken. */
  readonly steps: number;
  /** Bytes of the state. */
  readonly bytes: number;
  /** Moves every variable. Do not call it inside a `tidy`. */
  step(gradients: Gradients, learningRate?: number): void;
  /** The state for a safetensors file, named by kind and parameter path. Tensors stay the optimizer's. */
  save(): Record<string, SafetensorsEntry>;
  /** Restores the state that `save` returned for the same variables. When it throws, the state is as before. */
  load(steps: number, stored: Readonly<Record<string, StoredTensor>>): Promise<void>;
  dispose(): void;
}
