import { constant, integers, node, type Value } from '../graph/graph.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import { dtypeOf, plain, plainView, reshaped, type View } from '../recorder/view.js';
import { binary, cast, castTo, number, where } from './elementwise.js';
import { slice } from './shape.js';
import { elementCount } from '../../../params.js';

registerKernelEmitter<{ axis: number; batchDims?: number }>('GatherV2', ({ x, indices }, { axis, batchDims = 0 }) => {
  const at = axis < 0 ? axis + x!.shape.length : axis;
  const shape = [...x!.shape.slice(0, at), ...indices!.shape.slice(batchDims), ...x!.shape.slice(at + 1)];
  const places = cast(plain(indices!), 'int32');
  if (batchDims === 0)
    return plainView(node('Gather', [plain(x!), places], shape, { attributes: { axis: { int: at } } }));
  return plainView(reshaped(inBatches(plain(x!), places, at, batchDims), shape));
});

/**
 * Each example, and each of what lies between its axes and the one that is read, has rows of its own in one long list.
 */
function inBatches(x: Value, indices: Value, axis: number, batchDims: number): Value {
  const [batch, outer, inner] = [
    x.shape.slice(0, batchDims),
    x.shape.slice(batchDims, axis),
    x.shape.slice(axis + 1),
  ].map(elementCount) as [number, number, number];
  const [size, read] = [x.shape[axis]!, elementCount(indices.shape.slice(batchDims))];
  const firsts = Int32Array.from({ length: batch * outer }, (_, i) => i * size);
  const rows = node(
    'Add',
    [reshaped(indices, [batch, 1, read]), constant(firsts, [batch, outer, 1], 'int32')],
    [batch, outer, read],
  );
  return node('Gather', [reshaped(x, [batch * outer * size, inner]), rows], [batch, outer, read, inner], {
    attributes: { axis: { int: 0 } },
  });
}

registerKernelEmitter('GatherNd', ({ params, indices }) => {
  const [x, places] = [plain(params!), cast(plain(indices!), 'int64')];
  const depth = places.shape.at(-1)!;
  return plainView(node('GatherND', [x, places], [...places.shape.slice(0, -1), ...x.shape.slice(depth)]));
});

// Rows that are written twice are added up.
registerKernelEmitter<{ shape: number[] }>('ScatterNd', ({ indices, updates }, { shape }) =>
  scattered(constant(0, shape, dtypeOf(updates!)), indices!, updates!, 'add'),
);
// The last of several wins.
registerKernelEmitter('TensorScatterUpdate', ({ tensor, indices, updates }) =>
  scattered(plain(tensor!), indices!, updates!),
);
registerKernelEmitter<{ outputShape: number[] }>(
  'SparseToDense',
  ({ sparseIndices, sparseValues, defaultValue }, { outputShape }) => {
    const count = sparseIndices!.shape.length === 0 ? 1 : sparseIndices!.shape[0]!;
    const rows = plainView(reshaped(plain(sparseIndices!), [count, outputShape.length]));
    return scattered(filled(defaultValue!, outputShape), rows, plainView(filled(sparseValues!, [count])));
  },
);

const filled = (x: View, shape: readonly number[]): Value => node('Expand', [plain(x), integers(shape)], shape);

function scattered(onto: Value, indices: View, updates: View, reduction?: 'add'): View {
  const attributes = reduction && { reduction: { string: reduction } };
  return plainView(
    node('ScatterND', [onto, cast(plain(indices), 'int64'), plain(updates)], onto.shape, attributes && { attributes }),
  );
}

// Rows without a segment go to one more, which is cut off.
registerKernelEmitter<{ numSegments: number }>('UnsortedSegmentSum', ({ x, segmentIds }, { numSegments }) => {
  const ids = castTo(segmentIds!, 'int32');
  const isNegative = binary('Less', [ids, number(0, 'int32')], 'bool');
  const isBeyond = binary('Greater', [ids, number(numSegments, 'int32')], 'bool');
  const safe = where(binary('Or', [isNegative, isBeyond], 'bool'), number(numSegments, 'int32'), ids);
  const rest = x!.shape.slice(ids.shape.length);
  const rows = plainView(reshaped(plain(safe), [...ids.shape, 1]));
  const sums = scattered(constant(0, [numSegments + 1, ...rest], dtypeOf(x!)), rows, x!, 'add');
  return slice(
    sums,
    sums.shape.map(() => 0),
    [numSegments, ...rest],
  );
});
