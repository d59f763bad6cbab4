import { resize, resizeUint8, shorterSide } from '@alignprop/autograd-ext';
import { clipByValue, div, slice, sub, tensor, tensor1d, tidy, type Tensor4D } from '@tensorflow/tfjs-core';
import { checkImages } from '../reward.js';
import type { RgbImage } from '../jpeg/jpeg-size.js';

// Of all models in CLIP's tradition: openai/CLIP, open_clip, BLIP.
const MEAN = [0.48145466, 0.4578275, 0.40821073];
const STD = [0.26862954, 0.26130258, 0.27577711];

export interface ClipPixelsOptions {
  /** Height and width that the model wants, in pixels. */
  readonly size: number;
  readonly mode?: 'bilinear' | 'bicubic';
  /** Where the middle lies between two pixels: transformers takes the one before, torchvision the even one. */
  readonly rounding?: 'down' | 'even';
}

/**
 * Images as a CLIP model wants them: clamped to [0, 1], the shorter side resized (antialiased) to `size`, the middle
 * square cut out, mean and standard deviation of CLIP's training data. Differentiable. Bicubic overshoots edges a
 * little, which nothing clamps, as in torchvision on tensors.
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
 * The same of one 8-bit image, in 8-bit integers as PIL: transformers' `CLIPImageProcessor` to the last digit. Not
 * differentiable; to compare with scores that other programs gave an image file. `clipPixels` differs from it by what
 * rounding to bytes, and clamping bicubic's overshoot, take away.
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

/** Top and left of the middle square. */
function cropOffsets(
  sides: readonly [number, number],
  size: number,
  rounding: 'down' | 'even' = 'down',
): [number, number] {
  const round =
    rounding === 'down' ? Math.floor : (half: number) => (Number.isInteger(half) ? half : 2 * Math.round(half / 2));
  return sides.map((side) => round((side - size) / 2)) as [number, number];
}
