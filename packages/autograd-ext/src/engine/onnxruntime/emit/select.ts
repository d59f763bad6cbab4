import { cast, expandDims, less, lessEqual, sum } from '@tensorflow/tfjs-core';
import { constant, integers, nodeOutputs, type Dtype, type Value } from '../graph/graph.js';
import { registerDecomposition, registerKernelEmitter } from '../recorder/recorder.js';
import { plain, plainView, reshapedView, type View } from '../recorder/view.js';
import { binary, cast as castValue, number, where } from './builders.js';
import { pad } from './shape.js';
import { elementCount } from '../../../params.js';

// Selecting by value: the largest elements, classes, diagonals, positions in sorted rows.

// The largest elements first; equal ones in their order.
registerKernelEmitter<{ k: number }>('TopK', ({ x }, { k }) => {
  const value = plain(x!);
  const shape = [...value.shape.slice(0, -1), k];
  const outputs = [
    { shape, dtype: value.dtype },
    { shape, dtype: 'int64' },
  ] as const;
  const [values, indices] = nodeOutputs('TopK', [value, integers([k])], outputs, {
    attributes: { axis: { int: -1 } },
  }) as readonly [Value, Value];
  return [plainView(values), plainView(castValue(indices, 'int32'))];
});

// Indices outside the classes give rows without `onValue`.
registerKernelEmitter<{ depth: number; onValue: number; offValue: number; dtype: Dtype }>(
  'OneHot',
  ({ indices }, { depth, onValue, offValue, dtype }) => {
    const classes = plainView(
      constant(
        Int32Array.from({ length: depth }, (_, i) => i),
        [depth],
        'int32',
      ),
    );
    const isClass = binary('Equal', [reshapedView(indices!, [...indices!.shape, 1]), classes], 'bool');
    return where(isClass, number(onValue, dtype), number(offValue, dtype));
  },
);

// A tensor of shape [...s, ...s] with the elements of x, of shape s, on its diagonal.
registerKernelEmitter('Diag', ({ x }) => {
  const size = elementCount(x!.shape);
  const eye = Int32Array.from({ length: size * size }, (_, i) => Number(i % (size + 1) === 0));
  const diagonal = where(
    plainView(constant(eye, [size, size], 'bool')),
    reshapedView(x!, [1, size]),
    number(0, x!.value.dtype),
  );
  return reshapedView(diagonal, [...x!.shape, ...x!.shape]);
});

// Counts the elements of a sorted row before each value.
registerDecomposition<{ side: 'left' | 'right' }>('SearchSorted', ({ sortedSequence, values }, { side }) => {
  const isBefore = side === 'left' ? less : lessEqual;
  return sum(cast(isBefore(expandDims(sortedSequence!, 1), expandDims(values!, 2)), 'int32'), -1);
});

// The broadcast of two shapes: of each pair of sizes, the one that is not 1.
registerKernelEmitter('BroadcastArgs', ({ s0, s1 }) => {
  const rank = Math.max(s0!.shape[0]!, s1!.shape[0]!);
  const [a, b] = [padded(s0!, rank), padded(s1!, rank)];
  return where(binary('Equal', [a, number(1, 'int32')], 'bool'), b, a);
});

const padded = (shape: View, rank: number): View => pad(shape, [[rank - shape.shape[0]!, 0]], 1);
