import { constant, node, type Value } from '../graph/graph.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import { ordered, plain, plainView, reshaped, viewOf, type View } from '../recorder/view.js';
import { add, meanLast, mul, scalar, sub, sumLast } from './builders.js';

// Group and layer normalization and their input gradients.

interface GroupNormAttrs {
  readonly groups: number;
  readonly eps: number;
}

// x is [B, S, C] for tfjs; the nodes work on [B, C, S].
registerKernelEmitter<GroupNormAttrs>('GroupNorm', ({ x, weight, bias }, { groups, eps }) => {
  const value = ordered(x!, [0, 2, 1]);
  const normalized = reshaped(instanceNorm(grouped(value, groups), eps), value.shape);
  return viewOf(add(mul(normalized, column(weight!)), column(bias!)), [0, 2, 1]);
});

registerKernelEmitter<GroupNormAttrs>('GroupNormGrad', ({ x, weight, dy }, { groups, eps }) => {
  const value = ordered(x!, [0, 2, 1]);
  const g = grouped(mul(ordered(dy!, [0, 2, 1]), column(weight!)), groups);
  return viewOf(reshaped(normGrad(grouped(value, groups), g, eps), value.shape), [0, 2, 1]);
});

// x is [N, C].
registerKernelEmitter<{ eps: number }>('LayerNorm', ({ x, weight, bias }, { eps }) => {
  const value = plain(x!);
  return plainView(
    node('LayerNormalization', [value, plain(weight!), plain(bias!)], value.shape, {
      attributes: { axis: { int: -1 }, epsilon: { float: eps } },
    }),
  );
});

registerKernelEmitter<{ eps: number }>('LayerNormGrad', ({ x, weight, dy }, { eps }) =>
  plainView(normGrad(plain(x!), mul(plain(dy!), plain(weight!)), eps)),
);

/** `[B, C, S]` to `[B, groups, C/groups · S]`. */
const grouped = (value: Value, groups: number): Value =>
  reshaped(value, [value.shape[0]!, groups, (value.shape[1]! / groups) * value.shape[2]!]);
/** `[C]` to `[C, 1]`, which broadcasts over `[B, C, S]`. */
const column = (view: View): Value => reshaped(plain(view), [view.shape[0]!, 1]);

function instanceNorm(value: Value, eps: number): Value {
  const channels = value.shape[1]!;
  return node('InstanceNormalization', [value, constant(1, [channels]), constant(0, [channels])], value.shape, {
    attributes: { epsilon: { float: eps } },
  });
}

/**
 * The gradient of x̂ = (x - mean) / sqrt(variance + eps) over the last axis: r·(g - mean(g) - x̂·mean(g·x̂)), where r
 * is 1 / sqrt(variance + eps). Row-by-row dot products are written as products and sums: as matrix products they would
 * write less memory, but ONNX Runtime takes five times as long.
 */
function normGrad(x: Value, g: Value, eps: number): Value {
  const count = x.shape.at(-1)!;
  const centered = sub(x, meanLast(x));
  const variance = mul(rowDot(centered, centered), scalar(1 / count));
  const deviation = node('Sqrt', [add(variance, scalar(eps))], variance.shape); // [..., 1]
  const r = node('Reciprocal', [deviation], variance.shape);
  const slope = mul(mul(rowDot(g, centered), scalar(-1 / count)), mul(r, mul(r, r)));
  const offset = mul(meanLast(g), r);
  return add(mul(g, r), sub(mul(centered, slope), offset));
}

/** The dot product of corresponding rows, `[..., n]` and `[..., n]` to `[..., 1]`. */
const rowDot = (a: Value, b: Value): Value => sumLast(mul(a, b));
