import type { StoredTensor } from '@alignprop/autograd-ext';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { LoraConfig } from './lora-config.js';

/** An adapter as read from a file, not yet applied to a model. */
export interface LoraState {
  /** Rank and α of the first module, and the last names of all modules. */
  readonly config: Pick<LoraConfig, 'r' | 'loraAlpha' | 'targetModules'>;
  /**
   * `<module>.lora_A.weight` `[r, in]` and `<module>.lora_B.weight` `[out, r]`; modules of kohya files have underscores
   * in place of dots.
   */
  readonly tensors: Readonly<Record<string, Tensor | StoredTensor>>;
  /** α by module, where it differs from `config.loraAlpha`. */
  readonly alphas?: Readonly<Record<string, number>>;
  /** The parts of a pipeline that the file adapts (`unet`, `text_encoder`); this state is one of them. */
  readonly components?: readonly string[];
}
