import { resizeUint8 } from '@alignprop/autograd-ext';
import type { RgbImage } from '@alignprop/diffusion';

/** Resizes an image until it covers a size in pixels, and cuts what stands out on either side, half and half. */
export function coverImage(image: RgbImage, { height, width }: { height: number; width: number }): RgbImage {
  const scale = Math.max(height / image.height, width / image.width);
  const size = [
    Math.max(height, Math.round(scale * image.height)),
    Math.max(width, Math.round(scale * image.width)),
  ] as const;
  const resized = resizeUint8(image.data, [image.height, image.width], size, { mode: 'bilinear' });
  const [top, left] = [Math.floor((size[0] - height) / 2), Math.floor((size[1] - width) / 2)];
  const data = new Uint8Array(height * width * 3);
  for (let row = 0; row < height; row++) {
    const start = ((top + row) * size[1] + left) * 3;
    data.set(resized.subarray(start, start + width * 3), row * width * 3);
  }
  return { data, height, width };
}
