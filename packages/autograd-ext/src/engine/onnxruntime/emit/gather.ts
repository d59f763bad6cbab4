import { constant, integers, node, type Value } from '../graph/graph.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import { dtypeOf, plain, plainView, reshaped, type View } from '../recorder/view.js';
import { binary, cast, castTo, nonNegativeAxis, number, where } from './builders.js';
import { slice } from './shape.js';
import { elementCount } from '../../../params.js';

// Reading and writing rows by index.

registerKernelEmitter<{ axis: number; batchDims?: number }>('GatherV2', ({ x, indices }, { axis, batchDims = 0 }) => {
  const at = nonNegativeAxis(axis, x!.shape.length);
  const shape = [...x!.shape.slice(0, at), ...indices!.shape.slice(batchDims), ...x!.shape.slice(at + 1)];
  const positions = cast(plain(indices!), 'int32');
  if (batchDims === 0)
    return plainView(node('Gather', [plain(x!), positions], shape, { attributes: { axis: { int: at } } }));
  return plainView(reshaped(gatherInBatches(plain(x!), positions, at, batchDims), shape));
});

/**
 * Gathers with batch axes by one Gather from a list of rows: flattens all axes up to `axis` into the list and adds to
 * each index the position at which the rows of its example begin.
 */
function gatherInBatches(x: Value, indices: Value, axis: number, batchDims: number): Value {
  const [batch, outer, inner] = [
    x.shape.slice(0, batchDims),
    x.shape.slice(batchDims, axis),
    x.shape.slice(axis + 1),
  ].map(elementCount) as [number, number, number];
  const [size, count] = [x.shape[axis]!, elementCount(indices.shape.slice(batchDims))];
  const firsts = Int32Array.from({ length: batch * outer }, (_, i) => i * size);
  const rows = node(
    'Add',
    [reshaped(indices, [batch, 1, count]), constant(firsts, [batch, outer, 1], 'int32')],
    [batch, outer, count],
  );
  return node('Gather', [reshaped(x, [batch * outer * size, inner]), rows], [batch, outer, count, inner], {
    attributes: { axis: { int: 0 } },
  });
}

registerKernelEmitter('GatherNd', ({ params, indices }) => {
  const [x, positions] = [plain(params!), cast(plain(indices!), 'int64')];
  const depth = positions.shape.at(-1)!;
  return plainView(node('GatherND', [x, positions], [...positions.shape.slice(0, -1), ...x.shape.slice(depth)]));
});

// Rows written to the same index are summed.
registerKernelEmitter<{ shape: number[] }>('ScatterNd', ({ indices, updates }, { shape }) =>
  scatter(constant(0, shape, dtypeOf(updates!)), indices!, updates!, 'add'),
);
// The last of several rows written to the same index stays.
registerKernelEmitter('TensorScatterUpdate', ({ tensor, indices, updates }) =>
  scatter(plain(tensor!), indices!, updates!),
);
registerKernelEmitter<{ outputShape: number[] }>(
  'SparseToDense',
  ({ sparseIndices, sparseValues, defaultValue }, { outputShape }) => {
    const count = sparseIndices!.shape.length === 0 ? 1 : sparseIndices!.shape[0]!;
    const rows = plainView(reshaped(plain(sparseIndices!), [count, outputShape.length]));
    return scatter(expand(defaultValue!, outputShape), rows, plainView(expand(sparseValues!, [count])));
  },
);

const expand = (x: View, shape: readonly number[]): Value => node('Expand', [plain(x), integers(shape)], shape);

function scatter(onto: Value, indices: View, updates: View, reduction?: 'add'): View {
  const attributes = reduction && { reduction: { string: reduction } };
  return plainView(
    node('ScatterND', [onto, cast(plain(indices), 'int64'), plain(updates)], onto.shape, attributes && { attributes }),
  );
}

// Rows outside all segments are summed into one extra segment, which is cut off.
registerKernelEmitter<{ numSegments: number }>('UnsortedSegmentSum', ({ x, segmentIds }, { numSegments }) => {
  const ids = castTo(segmentIds!, 'int32');
  const isNegative = binary('Less', [ids, number(0, 'int32')], 'bool');
  const isBeyond = binary('Greater', [ids, number(numSegments, 'int32')], 'bool');
  const segments = where(binary('Or', [isNegative, isBeyond], 'bool'), number(numSegments, 'int32'), ids);
  const rest = x!.shape.slice(ids.shape.length);
  const rows = plainView(reshaped(plain(segments), [...ids.shape, 1]));
  const sums = scatter(constant(0, [numSegments + 1, ...rest], dtypeOf(x!)), rows, x!, 'add');
  return slice(
    sums,
    sums.shape.map(() => 0),
    [numSegments, ...rest],
  );
});
