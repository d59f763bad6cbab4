import { engine, type Tensor } from '@tensorflow/tfjs-core';
import { comparisons } from './kernels/gradients/comparison-grads.js';

/** Kernels whose gradient is zero everywhere. */
const flatKernels: ReadonlySet<string> = new Set([
  ...comparisons,
  'ArgMax',
  'ArgMin',
  'Ceil',
  'Floor',
  'GreaterEqual',
  'IsFinite',
  'IsInf',
  'IsNan',
  'LogicalNot',
  'OnesLike',
  'Round',
  'Sign',
  'Step',
  'ZerosLike',
]);

/** An operation on tfjs's tape: the fields of its TapeNode that are read here. */
interface TapeNode {
  readonly kernelName: string;
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly outputs: readonly Tensor[];
  readonly gradient?: unknown;
}

/**
 * Whether `output` was computed from `input` by operations that pass a gradient. Call it inside the function that `vjp`
 * differentiates. Rounding, comparisons and operations without a gradient in tfjs pass none. A gradient that is only
 * multiplied by zero counts as passed.
 * @throws outside of a gradient
 */
export function isDifferentiable(output: Tensor, input: Tensor): boolean {
  const tape = engine().state.activeTape as unknown as readonly TapeNode[] | null;
  if (!tape) throw new Error('isDifferentiable: called outside of a gradient, expected inside the function of vjp.');
  const reached = new Set([input.id]);
  for (const { kernelName, inputs, outputs, gradient } of tape) {
    if (!gradient || flatKernels.has(kernelName)) continue;
    const passes = Object.entries(inputs).some(
      ([name, { id }]) => reached.has(id) && !(kernelName === 'Select' && name === 'condition'),
    );
    if (passes) outputs.forEach(({ id }) => reached.add(id));
  }
  return reached.has(output.id);
}
