import { engine, registerGradient, zeros, type Tensor } from '@tensorflow/tfjs-core';
import { registerHostKernel, type HostKernel, type HostTensor } from '../registry/host-kernel.js';

interface CropAttrs {
  readonly cropSize: readonly [height: number, width: number];
  readonly method: 'bilinear' | 'nearest';
}

/**
 * Adds the gradients of tf.image.cropAndResize, which tfjs lacks: of the images, and with bilinear interpolation of the
 * boxes.
 */
export function addCropAndResizeGradient(): void {
  for (const kernel of [imageGradKernel, boxesGradKernel]) registerHostKernel(kernel, ['wasm', 'cpu', 'tensorflow']);
  registerGradient({
    kernelName: 'CropAndResize',
    inputsToSave: ['image', 'boxes', 'boxInd'],
    gradFunc: (dy, [image, boxes, boxInd], attrs) => {
      const run = ({ name }: HostKernel<CropAttrs>) =>
        engine().runKernel(name, { dy, image, boxes, boxInd } as never, attrs) as Tensor;
      return {
        image: () => run(imageGradKernel),
        boxes: () => run(boxesGradKernel),
        boxInd: () => zeros(boxInd!.shape),
      };
    },
  });
}

const imageGradKernel: HostKernel<CropAttrs> = {
  name: 'CropAndResizeImageGrad',
  outputShape: ({ image }) => image!,
  run({ dy, image, boxes, boxInd }, dx, attrs) {
    const channels = image!.shape[3]!;
    dx.fill(0);
    forEachPixel(image!.shape, boxes!, boxInd!, attrs, ({ from, row, column, offset }) => {
      for (const [y, down] of weights(row)) {
        for (const [x, across] of weights(column)) {
          const to = offset(y, x);
          for (let c = 0; c < channels; c++) dx[to + c]! += down * across * dy!.values[from + c]!;
        }
      }
    });
  },
};

const boxesGradKernel: HostKernel<CropAttrs> = {
  name: 'CropAndResizeBoxesGrad',
  outputShape: ({ boxes }) => boxes!,
  run({ dy, image, boxes, boxInd }, dBoxes, attrs) {
    const [pixels, channels] = [image!.values, image!.shape[3]!];
    dBoxes.fill(0);
    if (attrs.method === 'nearest') return; // piecewise constant
    forEachPixel(image!.shape, boxes!, boxInd!, attrs, ({ from, box, row, column, offset }) => {
      let [down, across] = [0, 0]; // derivatives along y and x, times dy
      for (let c = 0; c < channels; c++) {
        const [a, b, d, e] = [
          offset(row.low, column.low),
          offset(row.low, column.high),
          offset(row.high, column.low),
          offset(row.high, column.high),
        ].map((at) => pixels[at + c]!) as [number, number, number, number];
        down += dy!.values[from + c]! * ((d - a) * (1 - column.fraction) + (e - b) * column.fraction);
        across += dy!.values[from + c]! * ((b - a) * (1 - row.fraction) + (e - d) * row.fraction);
      }
      [down * row.byStart, across * column.byStart, down * row.byEnd, across * column.byEnd].forEach(
        (slope, i) => (dBoxes[4 * box + i]! += slope),
      );
    });
  },
};

/** A position between two pixels of an axis. */
interface Position {
  readonly low: number;
  readonly high: number;
  /** Distance from `low`. */
  readonly fraction: number;
  /** Derivatives with respect to the start and end of the box. */
  readonly byStart: number;
  readonly byEnd: number;
}

const weights = ({ low, high, fraction }: Position) =>
  [
    [low, 1 - fraction],
    [high, fraction],
  ] as const;

/** A pixel of a crop. */
interface Pixel {
  /** Offset in dy. */
  readonly from: number;
  /** Index of the box. */
  readonly box: number;
  readonly row: Position;
  readonly column: Position;
  /** Offset of a pixel of the image. */
  offset(y: number, x: number): number;
}

/** Visits the pixels of all crops that lie inside their image. */
function forEachPixel(
  shape: readonly number[],
  boxes: HostTensor,
  boxInd: HostTensor,
  { cropSize, method }: CropAttrs,
  visit: (pixel: Pixel) => void,
): void {
  const [batch, height, width, channels] = shape as [number, number, number, number];
  for (let box = 0; box < boxes.shape[0]!; box++) {
    const [image, [y1, x1, y2, x2]] = [
      boxInd.values[box]!,
      boxes.values.subarray(4 * box) as unknown as [number, number, number, number],
    ];
    if (image >= batch) continue;
    const rows = positions(y1, y2, height, cropSize[0], method);
    const columns = positions(x1, x2, width, cropSize[1], method);
    const offset = (y: number, x: number) => ((image * height + y) * width + x) * channels;
    rows.forEach((row, i) =>
      columns.forEach((column, j) => {
        const from = ((box * cropSize[0] + i) * cropSize[1] + j) * channels;
        if (row && column) visit({ from, box, row, column, offset });
      }),
    );
  }
}

/** Positions in the image of the pixels of a crop, along one axis; undefined outside the image. */
function positions(
  start: number,
  end: number,
  size: number,
  count: number,
  method: CropAttrs['method'],
): (Position | undefined)[] {
  return Array.from({ length: count }, (_, i) => {
    const along = count > 1 ? i / (count - 1) : 0.5;
    const position = (start + (end - start) * along) * (size - 1);
    if (position < 0 || position > size - 1) return undefined;
    const [low, high] =
      method === 'nearest' ? [Math.round(position), Math.round(position)] : [Math.floor(position), Math.ceil(position)];
    return { low, high, fraction: position - low, byStart: (1 - along) * (size - 1), byEnd: along * (size - 1) };
  });
}
