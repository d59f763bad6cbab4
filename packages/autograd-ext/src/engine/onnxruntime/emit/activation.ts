import { node } from '../graph/graph.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import { broadcastOrdered, dtypeOf, viewOf, type View } from '../recorder/view.js';
import { binary, broadcastShape, castTo, clip, floats, number, numbers, unary, where } from './builders.js';

// Piecewise activations, alone and as the last part of tfjs's fused kernels.

registerKernelEmitter<{ alpha: number }>('LeakyRelu', ({ x }, { alpha }) => leakyRelu(x!, alpha));
registerKernelEmitter('Relu6', ({ x }) => relu6(x!));
registerKernelEmitter('Prelu', ({ x, alpha }) => prelu(x!, alpha!));
registerKernelEmitter<{ alpha?: number }>('Step', ({ x }, { alpha = 0 }) => {
  const view = numbers(x!);
  const isPositive = binary('Greater', [view, number(0, dtypeOf(view))], 'bool');
  return alpha === 0
    ? castTo(isPositive, dtypeOf(view))
    : where(isPositive, number(1, dtypeOf(view)), number(alpha, dtypeOf(view)));
});
// The derivative of elu is 1 above 0 and exp(x) = y + 1 below.
registerKernelEmitter('EluGrad', ({ dy, y }) => {
  const below = binary('Mul', [dy!, binary('Add', [y!, number(1)])]);
  return where(binary('Less', [y!, number(0)], 'bool'), below, dy!);
});

const relu6 = (x: View) => clip(numbers(x), 0, 6);
const leakyRelu = (x: View, alpha: number) =>
  unary('LeakyRelu', floats(x), { attributes: { alpha: { float: alpha } } });

function prelu(x: View, alpha: View): View {
  const [input, slope] = [floats(x), floats(alpha)];
  const isBroadcastToInput = broadcastShape([input.shape, slope.shape]).join() === input.shape.join();
  if (!isBroadcastToInput)
    return where(binary('Less', [input, number(0)], 'bool'), binary('Mul', [input, slope]), input);
  return viewOf(
    node('PRelu', [input.value, broadcastOrdered(slope, input.shape.length, input.order)], input.value.shape),
    input.order,
  );
}

/** The activation of a fused kernel of tfjs. */
export interface FusedActivation {
  readonly activation?: 'linear' | 'relu' | 'prelu' | 'elu' | 'relu6' | 'leakyrelu' | 'sigmoid';
  readonly leakyreluAlpha?: number;
}

/** Applies the activation of a fused kernel. */
export function activated(
  x: View,
  { activation = 'linear', leakyreluAlpha = 0.2 }: FusedActivation,
  preluWeights?: View,
): View {
  const functions = {
    linear: () => x,
    relu: () => unary('Relu', x),
    relu6: () => relu6(x),
    elu: () => unary('Elu', x),
    sigmoid: () => unary('Sigmoid', x),
    leakyrelu: () => leakyRelu(x, leakyreluAlpha),
    prelu: () => prelu(x, preluWeights!),
  };
  return functions[activation]();
}
