import {
  abs,
  add,
  cast,
  concat,
  equal,
  floor,
  gather,
  greaterEqual,
  less,
  lessEqual,
  logicalAnd,
  matMul,
  mul,
  neg,
  range,
  relu,
  reshape,
  sign,
  slice,
  sub,
  sum,
  tensor1d,
  transpose,
  zeros,
  type Tensor,
  type Tensor1D,
} from '@tensorflow/tfjs-core';
import { registerDecomposition } from '../recorder/recorder.js';

// tf.image.cropAndResize and its gradients. Each box has a matrix of interpolation weights per axis: row i weighs the
// image pixels between which pixel i of the crop lies.

interface CropAttrs {
  readonly cropSize: readonly [height: number, width: number];
  readonly method: 'bilinear' | 'nearest';
  readonly extrapolationValue?: number;
}

registerDecomposition<CropAttrs>(
  'CropAndResize',
  ({ image, boxes, boxInd }, { cropSize, method, extrapolationValue = 0 }) => {
    const [rows, columns] = positionsOf(image!, boxes!, cropSize);
    const pixels = gather(channelsFirst(image!), boxInd as Tensor1D); // [N, C, H, W]
    const [down, across] = [weights(rows, method), weights(columns, method)].map((w) =>
      reshape(w, [w.shape[0]!, 1, ...w.shape.slice(1)]),
    ) as [Tensor, Tensor];
    const crops = channelsLast(matMul(matMul(down, pixels), across, false, true));
    if (extrapolationValue === 0) return crops;
    const inside = mul(reshape(rows.inside, [-1, cropSize[0], 1, 1]), reshape(columns.inside, [-1, 1, cropSize[1], 1]));
    return add(crops, mul(sub(1, inside), extrapolationValue));
  },
);

registerDecomposition<CropAttrs>('CropAndResizeImageGrad', ({ dy, image, boxes, boxInd }, { cropSize, method }) => {
  const [down, across] = positionsOf(image!, boxes!, cropSize)
    .map((positions) => weights(positions, method))
    .map((w) => reshape(w, [w.shape[0]!, 1, ...w.shape.slice(1)])) as [Tensor, Tensor];
  const pixels = matMul(matMul(down, channelsFirst(dy!), true), across); // [N, C, H, W]
  const [batch, height, width, channels] = image!.shape as [number, number, number, number];
  const owners = cast(equal(reshape(boxInd!, [-1, 1]), range(0, batch, 1, 'int32')), 'float32'); // [N, B]
  const sums = matMul(owners, reshape(pixels, [-1, channels * height * width]), true);
  return channelsLast(reshape(sums, [batch, channels, height, width]));
});

registerDecomposition<CropAttrs>('CropAndResizeBoxesGrad', ({ dy, image, boxes, boxInd }, { cropSize, method }) => {
  if (method === 'nearest') return zeros(boxes!.shape); // piecewise constant
  const [rows, columns] = positionsOf(image!, boxes!, cropSize);
  const pixels = gather(channelsFirst(image!), boxInd as Tensor1D);
  const along = (down: Tensor, across: Tensor) => {
    const [a, b] = [down, across].map((w) => reshape(w, [w.shape[0]!, 1, ...w.shape.slice(1)])) as [Tensor, Tensor];
    return sum(mul(channelsLast(matMul(matMul(a, pixels), b, false, true)), dy!), 3); // [N, h, w]
  };
  const byRow = sum(along(slopes(rows), weights(columns, method)), 2); // [N, h]
  const byColumn = sum(along(weights(rows, method), slopes(columns)), 1);
  const parts = [byRow, byColumn].map((slope, axis) => {
    const { share, extent } = [rows, columns][axis]!;
    // the gradients of the start and of the end of the box
    const edges = [sub(1, share), share].map((part) => mul(sum(mul(slope, part), 1, true), extent - 1));
    return edges as [Tensor, Tensor];
  });
  return concat([parts[0]![0], parts[1]![0], parts[0]![1], parts[1]![1]], 1);
});

/** The positions of the crops' pixels along one axis of the image. */
interface Positions {
  readonly positions: Tensor; // [N, n]
  readonly inside: Tensor; // [N, n]: 1 within the image, else 0
  readonly share: Tensor; // [n]: the weight of the box's end in a position; its start has the rest
  readonly extent: number;
}

function positionsOf(image: Tensor, boxes: Tensor, cropSize: CropAttrs['cropSize']): [Positions, Positions] {
  return [0, 1].map((axis) => {
    const [extent, count] = [image.shape[axis + 1]!, cropSize[axis]!];
    const edge = (column: number) => slice(boxes, [0, column], [-1, 1]); // [N, 1]
    const share = tensor1d(Array.from({ length: count }, (_, i) => (count > 1 ? i / (count - 1) : 0.5)));
    const positions = mul(add(mul(edge(axis), sub(1, share)), mul(edge(axis + 2), share)), extent - 1);
    const inside = cast(logicalAnd(greaterEqual(positions, 0), lessEqual(positions, extent - 1)), 'float32');
    return { positions, inside, share, extent };
  }) as [Positions, Positions];
}

/** The interpolation weights of the image's pixels, `[N, n, extent]`. */
function weights({ positions, inside, extent }: Positions, method: CropAttrs['method']): Tensor {
  const distance = distances(method === 'nearest' ? roundHalfUp(positions) : positions, extent);
  return mul(relu(sub(1, abs(distance))), reshape(inside, [...inside.shape, 1]));
}

/** The derivatives of the weights with respect to the positions, `[N, n, extent]`. */
function slopes({ positions, inside, extent }: Positions): Tensor {
  const distance = distances(positions, extent);
  const isNear = cast(less(abs(distance), 1), 'float32');
  return mul(mul(neg(sign(distance)), isNear), reshape(inside, [...inside.shape, 1]));
}

/** The distances from the image's pixels to the positions, `[N, n, extent]`. */
const distances = (positions: Tensor, extent: number): Tensor =>
  sub(reshape(positions, [...positions.shape, 1]), tensor1d(Array.from({ length: extent }, (_, i) => i)));

const roundHalfUp = (x: Tensor): Tensor => floor(add(x, 0.5));
const channelsFirst = (x: Tensor): Tensor => transpose(x, [0, 3, 1, 2]);
const channelsLast = (x: Tensor): Tensor => transpose(x, [0, 2, 3, 1]);
