import type { AlignPropConfig } from '../config/config.js';

/** Height and width of the images in pixels, for a pipeline; left out where the model's own size applies. */
export const imageSize = ({
  height,
  width,
}: Pick<AlignPropConfig, 'height' | 'width'>): { height?: number; width?: number } => ({
  ...(height !== null && { height }),
  ...(width !== null && { width }),
});
