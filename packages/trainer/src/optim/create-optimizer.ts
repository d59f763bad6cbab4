import type { Variable } from '@tensorflow/tfjs-core';
import { AdamW } from './adamw.js';
import { AdamW8bit } from './adamw-8bit.js';
import type { Optimizer } from './optimizer.js';

/** The options of `AlignPropConfig` that describe an optimizer, by their names there. */
export interface OptimizerConfig {
  readonly train_learning_rate: number;
  readonly train_adam_beta1: number;
  readonly train_adam_beta2: number;
  readonly train_adam_epsilon: number;
  readonly train_adam_weight_decay: number;
  readonly train_use_8bit_adam: boolean;
}

/** Creates the optimizer that a configuration describes, with fresh moments. */
export function createOptimizer(variables: Readonly<Record<string, Variable>>, config: OptimizerConfig): Optimizer {
  const options = {
    learningRate: config.train_learning_rate,
    beta1: config.train_adam_beta1,
    beta2: config.train_adam_beta2,
    epsilon: config.train_adam_epsilon,
    weightDecay: config.train_adam_weight_decay,
  };
  return config.train_use_8bit_adam ? new AdamW8bit(variables, options) : new AdamW(variables, options);
}
