/** An 8-bit RGB image. */
export interface RgbImage {
  /** `[height, width, 3]`, row by row. */
  readonly data: Uint8Array | Uint8ClampedArray;
  readonly height: number;
  readonly width: number;
}
