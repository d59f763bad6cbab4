import { constant, integers, node, type Value } from '../graph/graph.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import { ordered, plain, plainView, reshaped, viewOf, type View } from '../recorder/view.js';
import { scalar } from './elementwise.js';

interface GroupNormAttrs {
  readonly groups: number;
  readonly eps: number;
}

// x [B, S, C], channels first inside.
registerKernelEmitter<GroupNormAttrs>('GroupNorm', ({ x, weight, bias }, { groups, eps }) => {
  const value = ordered(x!, [0, 2, 1]);
  const normalised = reshaped(instanceNorm(grouped(value, groups), eps), value.shape);
  return viewOf(add(mul(normalised, column(weight!)), column(bias!)), [0, 2, 1]);
});

registerKernelEmitter<GroupNormAttrs>('GroupNormGrad', ({ x, weight, dy }, { groups, eps }) => {
  const value = ordered(x!, [0, 2, 1]);
  const g = grouped(mul(ordered(dy!, [0, 2, 1]), column(weight!)), groups);
  return viewOf(reshaped(normGrad(grouped(value, groups), g, eps), value.shape), [0, 2, 1]);
});

// x [N, C]
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

const grouped = (value: Value, groups: number): Value =>
  reshaped(value, [value.shape[0]!, groups, (value.shape[1]! / groups) * value.shape[2]!]);
const column = (view: View): Value => reshaped(plain(view), [view.shape[0]!, 1]);

function instanceNorm(value: Value, eps: number): Value {
  const channels = value.shape[1]!;
  return node('InstanceNormalization', [value, constant(1, [channels]), constant(0, [channels])], value.shape, {
    attributes: { epsilon: { float: eps } },
  });
}

/**
 * The gradient of (x - mean) / sqrt(variance + eps) over the last axis: r·(g - mean(g) - x̂·mean(g·x̂)). Products of
 * rows with rows as matrix products would write less, but ONNX Runtime takes five times as long for them.
 */
function normGrad(x: Value, g: Value, eps: number): Value {
  const count = x.shape.at(-1)!;
  const centred = sub(x, mean(x));
  const variance = mul(dot(centred, centred), scalar(1 / count));
  // [..., 1]
  const r = node('Reciprocal', [node('Sqrt', [add(variance, scalar(eps))], variance.shape)], variance.shape);
  const slope = mul(mul(dot(g, centred), scalar(-1 / count)), mul(r, mul(r, r)));
  const offset = mul(mean(g), r);
  return add(mul(g, r), sub(mul(centred, slope), offset));
}

const mean = (x: Value): Value =>
  node('ReduceMean', [x, integers([x.shape.length - 1])], [...x.shape.slice(0, -1), 1], {
    attributes: { keepdims: { int: 1 } },
  });

/** Row by row, `[..., n]` and `[..., n]` to `[..., 1]`. */
const dot = (a: Value, b: Value): Value =>
  node('ReduceSum', [mul(a, b), integers([a.shape.length - 1])], [...a.shape.slice(0, -1), 1], {
    attributes: { keepdims: { int: 1 } },
  });

const largest = (a: Value, b: Value): readonly number[] =>
  a.shape.length === 0
    ? b.shape
    : b.shape.length === 0
      ? a.shape
      : a.shape.length > b.shape.length
        ? a.shape
        : a.shape.length < b.shape.length
          ? b.shape
          : a.shape.map((size, i) => Math.max(size, b.shape[i]!));
const mul = (a: Value, b: Value): Value => node('Mul', [a, b], largest(a, b));
const add = (a: Value, b: Value): Value => node('Add', [a, b], largest(a, b));
const sub = (a: Value, b: Value): Value => node('Sub', [a, b], largest(a, b));
