import { dispose, type Tensor } from '@tensorflow/tfjs-core';
import { trainable, type Engine, type ModelFunction, type Params } from '@alignprop/autograd-ext';
import { parseAlignPropConfig } from '@alignprop/trainer';
// eslint-disable-next-line @nx/enforce-module-boundaries -- the optimizer is no part of the trainer's interface
import { createOptimizer } from '../../packages/trainer/src/optim/create-optimizer.js';

/** Makes one step of AdamW at a rate, frees the inputs of the loss, and returns the loss before the step. */
export type LossStep = (inputs: Tensor[], rate: number) => Promise<number>;

/** Returns the function that trains the variables of a tree by a loss of it, without decay of the weights. */
export function trainedLoss(engine: Engine, params: Params, loss: ModelFunction): LossStep {
  const optimizer = createOptimizer(trainable(params), parseAlignPropConfig({ train_adam_weight_decay: 0 }));
  const lossVjp = engine.compileVjp(loss);
  return async (inputs, rate) => {
    const { value, params: gradients } = await lossVjp(params, inputs);
    const [before] = await value.data();
    optimizer.step(gradients, rate);
    dispose([value, gradients, inputs]);
    return before!;
  };
}

/** The learning rate at a share of the training: half a cosine. */
export const cosineRate = (share: number, [highest, lowest]: readonly [number, number]): number =>
  lowest + ((highest - lowest) * (1 + Math.cos(Math.PI * share))) / 2;
