import { backend_util } from '@tensorflow/tfjs-core';
import type { Attribute } from '../graph/graph.js';
import { RecordingError } from '../recorder/recorder.js';

/** Attributes of tfjs's convolutions and pools, of images or of volumes. */
export interface WindowAttrs {
  readonly strides: number | number[];
  readonly pad: 'same' | 'valid' | number | backend_util.ExplicitPadding;
  readonly dilations?: number | number[];
  readonly dimRoundingMode?: 'floor' | 'round' | 'ceil';
  readonly dataFormat?: 'NHWC' | 'NCHW' | 'NDHWC' | 'NCDHW';
}

/** The windows of a convolution or pool, with one entry per spatial axis. */
export interface Windows {
  /** The sizes of the input. */
  readonly extent: readonly number[];
  readonly size: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** The padding in front and behind. */
  readonly before: readonly number[];
  readonly after: readonly number[];
  /** The number of windows: the sizes of the output. */
  readonly counts: readonly number[];
}

/**
 * The windows of a convolution.
 * @param name the kernel, for errors; depthwise kernels contain 'Depthwise'
 * @param shape of the input, channels last
 */
export function convWindows(
  name: string,
  shape: readonly number[],
  filter: readonly number[],
  { strides, pad, dilations = 1, dimRoundingMode }: WindowAttrs,
): Windows {
  const info =
    shape.length === 5
      ? backend_util.computeConv3DInfo(
          shape as never,
          filter as never,
          strides as never,
          dilations as never,
          pad as never,
          false,
          'channelsLast',
          dimRoundingMode,
        )
      : backend_util.computeConv2DInfo(
          shape as never,
          filter as never,
          strides as never,
          (dilations ?? 1) as never,
          pad,
          dimRoundingMode,
          name.includes('Depthwise'),
        ); // dilations are null from tfjs-layers
  return fromInfo(name, info);
}

/**
 * The windows of a pool.
 * @param name the kernel, for errors
 * @param shape of the input, channels last
 */
export function poolWindows(
  name: string,
  shape: readonly number[],
  { filterSize, strides, pad, dilations = 1, dimRoundingMode }: WindowAttrs & { filterSize: number | number[] },
): Windows {
  const info =
    shape.length === 5
      ? backend_util.computePool3DInfo(
          shape as never,
          filterSize as never,
          strides as never,
          dilations as never,
          pad as never,
          dimRoundingMode,
        )
      : backend_util.computePool2DInfo(
          shape as never,
          filterSize as never,
          strides as never,
          dilations as never,
          pad,
          dimRoundingMode,
        );
  return fromInfo(name, info);
}

type Info = backend_util.Conv2DInfo | backend_util.Conv3DInfo;
type Axis = 'Depth' | 'Height' | 'Width';

/** Derives the padding behind from how far the last window reaches; tfjs's own number is wrong for some rectangles. */
function fromInfo(name: string, info: Info): Windows {
  const axes: readonly Axis[] = 'inDepth' in info ? ['Depth', 'Height', 'Width'] : ['Height', 'Width'];
  const of = (prefix: string) => axes.map((axis) => (info as unknown as Record<string, number>)[`${prefix}${axis}`]!);
  const [extent, size, strides, dilations, counts] = ['in', 'filter', 'stride', 'dilation', 'out'].map(of) as [
    number[],
    number[],
    number[],
    number[],
    number[],
  ];
  const { front = 0, top, left } = info.padInfo as { front?: number; top: number; left: number };
  const before = axes.length === 3 ? [front, top, left] : [top, left];
  const ends = axes.map(
    (_, i) => (counts[i]! - 1) * strides[i]! + (size[i]! - 1) * dilations[i]! + 1 - extent[i]! - before[i]!,
  );
  if (ends.some((end, i) => end <= -strides[i]!)) {
    throw new RecordingError(
      `its windows [${size}] of ${name} leave part of [${extent}] unread at stride [${strides}], as tfjs pads ` +
        "rectangles. Write the padding as [[0, 0], [top, bottom], [left, right], [0, 0]], or 'valid'.",
    );
  }
  return { extent, size, strides, dilations, before, after: ends.map((end) => Math.max(0, end)), counts };
}

/** The attributes of ONNX operators on windows. */
export const windowAttributes = ({ size, strides, dilations, before, after }: Windows): Record<string, Attribute> => ({
  kernel_shape: { ints: size },
  strides: { ints: strides },
  pads: { ints: [...before, ...after] },
  ...(dilations.some((n) => n !== 1) && { dilations: { ints: dilations } }),
});
