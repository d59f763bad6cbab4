import type { Variable } from '@tensorflow/tfjs-core';
import type { AlignPropConfig } from '../config/config.js';
import { AdamW } from './adamw.js';
import { AdamW8bit } from './adamw-8bit.js';
import type { Optimizer } from './optimizer.js';

type OptimizerConfig = Pick<
  AlignPropConfig,
  | 'train_learning_rate'
  | 'train_adam_beta1'
  | 'train_adam_beta2'
  | 'train_adam_epsilon'
  | 'train_adam_weight_decay'
  | 'train_use_8bit_adam'
>;

/** The optimizer that a configuration describes. */
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
