import { add, mul, sub, type Tensor } from '@tensorflow/tfjs-core';
import { trainable, withTensors, type ModelFunction, type Params } from '@alignprop/autograd-ext';
import { stopGradient } from '../../__fixtures__/stop-gradient.js';
import type { StepPlan } from '../plans.js';

/**
 * A model with the same values, whose gradient of the weights is multiplied by the weight of a step and that of its
 * first input by the coupling: written with detached copies, as the papers' code does it.
 */
export const withFactors =
  (model: ModelFunction, { weight, coupling }: StepPlan): ModelFunction =>
  (params, x, ...rest) => {
    const value = (weights: Params, input: Tensor) => model(weights, input, ...rest) as Tensor;
    const whole = value(params, x!);
    if (weight === 1 && coupling === 1) return whole;
    const scaled = (y: Tensor, factor: number) => mul(sub(y, stopGradient(y)), factor);
    const ofWeights = weight === 0 ? [] : [scaled(value(params, stopGradient(x!)), weight)];
    const ofInput = coupling === 0 ? [] : [scaled(value(detached(params), x!), coupling)];
    return [...ofWeights, ...ofInput].reduce<Tensor>((sum, part) => add(sum, part), stopGradient(whole));
  };

/** The same tree with what is trained as constants. */
const detached = (params: Params): Params =>
  withTensors(
    params,
    Object.fromEntries(Object.entries(trainable(params)).map(([path, value]) => [path, stopGradient<Tensor>(value)])),
  );
