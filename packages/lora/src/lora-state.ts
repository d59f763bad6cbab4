import type { StoredTensor } from '@alignprop/autograd-ext';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { LoraConfig } from './lora-config.js';

/** An adapter as read from a file, not yet put on a model. */
export interface LoraState {
  /** Rank and alpha of the adapter's first module, and its modules' last names. */
  readonly config: Pick<LoraConfig, 'r' | 'loraAlpha' | 'targetModules'>;
  /**
   * `<module>.lora_A.weight` `[r, in]` and `<module>.lora_B.weight` `[out, r]`; from kohya files, modules with
   * underscores.
   */
  readonly tensors: Readonly<Record<string, Tensor | StoredTensor>>;
  /** α of each module where it differs from `config.loraAlpha`. */
  readonly alphas?: Readonly<Record<string, number>>;
  /** Which parts of a pipeline the file adapts (`unet`, `text_encoder`); this state is one of them. */
  readonly components?: readonly string[];
}
