import { backend_util, concat, pad, reshape, reverse, slice, transpose, type Tensor } from '@tensorflow/tfjs-core';
import { node } from '../graph/graph.js';
import { registerDecomposition, registerKernelEmitter } from '../recorder/recorder.js';
import { plain, plainView } from '../recorder/view.js';
import { fromChannelsFirst, toChannelsFirst } from './channels.js';
import { elementCount } from '../../../params.js';

// Kernels that trade space for channels or examples, and mirrored padding.

registerKernelEmitter<{ blockSize: number; dataFormat: 'NHWC' | 'NCHW' }>(
  'DepthToSpace',
  ({ x }, { blockSize, dataFormat }) => {
    const isLast = dataFormat === 'NHWC';
    const value = isLast ? toChannelsFirst(x!) : plain(x!);
    const [batch, depth, height, width] = value.shape as [number, number, number, number];
    const shape = [batch, depth / blockSize ** 2, height * blockSize, width * blockSize];
    const spread = node('DepthToSpace', [value], shape, {
      attributes: { blocksize: { int: blockSize }, mode: { string: 'DCR' } },
    });
    return isLast ? fromChannelsFirst(spread) : plainView(spread);
  },
);

registerDecomposition<{ blockShape: number[]; paddings: [number, number][] }>(
  'SpaceToBatchND',
  ({ x }, { blockShape, paddings }) => {
    const blockSize = elementCount(blockShape);
    const bordered = pad(x!, [
      [0, 0],
      ...paddings,
      ...Array<[number, number]>(x!.rank - 1 - blockShape.length).fill([0, 0]),
    ]);
    const split = backend_util.getReshaped(bordered.shape, blockShape, blockSize, false);
    const order = backend_util.getPermuted(split.length, blockShape.length, false);
    return reshape(
      transpose(reshape(bordered, split), order),
      backend_util.getReshapedPermuted(bordered.shape, blockShape, blockSize, false),
    );
  },
);

registerDecomposition<{ blockShape: number[]; crops: number[][] }>('BatchToSpaceND', ({ x }, { blockShape, crops }) => {
  const blockSize = elementCount(blockShape);
  const split = backend_util.getReshaped(x!.shape, blockShape, blockSize);
  const joined = backend_util.getReshapedPermuted(x!.shape, blockShape, blockSize);
  const whole = reshape(
    transpose(reshape(x!, split), backend_util.getPermuted(split.length, blockShape.length)),
    joined,
  );
  return slice(
    whole,
    backend_util.getSliceBeginCoords(crops, blockShape.length),
    backend_util.getSliceSize(joined, crops, blockShape.length),
  );
});

registerDecomposition<{ paddings: [number, number][]; mode: 'reflect' | 'symmetric' }>(
  'MirrorPad',
  ({ x }, { paddings, mode }) =>
    paddings.reduce((tensor, amounts, axis) => mirrored(tensor, axis, amounts, mode === 'reflect' ? 1 : 0), x!),
);

/** Pads one axis with mirrored elements. The mirror stands on the outermost element (offset 1) or outside it (0). */
function mirrored(x: Tensor, axis: number, [before, after]: readonly [number, number], offset: number): Tensor {
  const size = x.shape[axis]!;
  const part = (begin: number, count: number) =>
    reverse(
      slice(
        x,
        x.shape.map((_, i) => (i === axis ? begin : 0)),
        x.shape.map((n, i) => (i === axis ? count : n)),
      ),
      axis,
    );
  const parts = [...(before ? [part(offset, before)] : []), x, ...(after ? [part(size - offset - after, after)] : [])];
  return parts.length === 1 ? x : concat(parts, axis);
}
