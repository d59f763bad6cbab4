import { resize, resizeUint8, shorterSide } from '@alignprop/autograd-ext';
import { clipByValue, div, slice, sub, tensor, tensor1d, tidy, type Tensor4D } from '@tensorflow/tfjs-core';
import { checkImages } from '../reward.js';
import type { RgbImage } from '../rgb-image.js';

// CLIP's statistics, which open_clip and BLIP use as well.
const MEAN = [0.48145466, 0.4578275, 0.40821073];
const STD = [0.26862954, 0.26130258, 0.27577711];

/** Options of `clipPixels`. */
export interface ClipPixelsOptions {
  /** Height and width of the model's input, in pixels. */
  readonly size: number;
  readonly mode?: 'bilinear' | 'bicubic';
  /** How the crop's offset is rounded when it is a half: transformers rounds down, torchvision to even. */
  readonly rounding?: 'down' | 'even';
}

/**
 * Preprocesses images for CLIP: clamps to [0, 1], resizes the shorter side to `size` with antialiasing, crops the
 * centre square, and normalises with CLIP's mean and standard deviation. Differentiable. As in torchvision on tensors,
 * the overshoot of bicubic resizing at edges is not clamped.
 * @param images `[B, H, W, 3]` in [0, 1], any size
 * @returns `[B, size, size, 3]`
 */
export function clipPixels(
  images: Tensor4D,
  { size, mode = 'bicubic', rounding = 'down' }: ClipPixelsOptions,
): Tensor4D {
  checkImages('clipPixels', images);
  const [batch, height, width] = images.shape;
  const [tall, wide] = shorterSide([height, width], size);
  const resized = resize(clipByValue(images, 0, 1), [tall, wide], { mode });
  const middle = slice(resized, [0, ...cropOffsets([tall, wide], size, rounding), 0], [batch, size, size, 3]);
  return div(sub(middle, tensor1d(MEAN)), tensor1d(STD));
}

/**
 * Preprocesses one 8-bit image in integers, as PIL does: equals transformers' `CLIPImageProcessor`. Not differentiable;
 * for comparing with scores that other programs compute from image files. `clipPixels` differs by the rounding to bytes
 * and by not clamping the overshoot of bicubic resizing.
 * @returns `[1, cropSize, cropSize, 3]`; the caller owns it
 */
export function clipPixelsOfBytes(
  { data, height, width }: RgbImage,
  { size, cropSize = size }: { size: number; cropSize?: number },
): Tensor4D {
  const [tall, wide] = shorterSide([height, width], size);
  const resized = resizeUint8(data, [height, width], [tall, wide], { mode: 'bicubic' });
  return tidy(() => {
    const middle = slice(
      tensor(resized, [1, tall, wide, 3], 'float32'),
      [0, ...cropOffsets([tall, wide], cropSize), 0],
      [1, cropSize, cropSize, 3],
    );
    return div(sub(div(middle, 255), tensor1d(MEAN)), tensor1d(STD)) as Tensor4D;
  });
}

/** Top and left of the centre square. */
function cropOffsets(
  sides: readonly [number, number],
  size: number,
  rounding: 'down' | 'even' = 'down',
): [number, number] {
  const round =
    rounding === 'down' ? Math.floor : (half: number) => (Number.isInteger(half) ? half : 2 * Math.round(half / 2));
  return sides.map((side) => round((side - size) / 2)) as [number, number];
}
