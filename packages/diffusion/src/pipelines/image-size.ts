/** The most pixels across: attention over more would take terabytes. */
const MAX_PIXELS = 2 ** 14;
/** The most pixels of a batch: 3 GB of colours, the most that tensors of tfjs hold. */
const MAX_BATCH_PIXELS = 2 ** 28;

/** @throws if a size in pixels is not divisible by 8 or above 16384, or the batch has more than 2^28 pixels */
export function checkSize({ batch, height, width }: Readonly<Record<'batch' | 'height' | 'width', number>>): void {
  for (const [name, size] of Object.entries({ height, width })) {
    if (!Number.isInteger(size) || size <= 0 || size % 8 !== 0 || size > MAX_PIXELS) {
      throw new Error(
        `StableDiffusionPipeline: ${name} got ${size}, expected a positive multiple of 8, at most ${MAX_PIXELS}. ` +
          `Try ${Math.min(MAX_PIXELS, Math.max(8, Math.round(size / 8) * 8 || 8))}.`,
      );
    }
  }
  if (batch * height * width > MAX_BATCH_PIXELS)
    throw new Error(
      `StableDiffusionPipeline: ${batch} images of ${height} × ${width} pixels are more than ${MAX_BATCH_PIXELS} ` +
        'pixels, expected fewer in a batch. Generate fewer at a time.',
    );
}
