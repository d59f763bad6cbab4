import { blocksOf, type Plane } from './integer-dct.js';
import { chromaCodes, HuffmanCounter, lumaCodes } from './huffman-counter.js';
import type { RgbImage } from '../rgb-image.js';
import { quantizationTables } from './quantization-tables.js';

// The sizes of SOI, JFIF APP0, two DQT, SOF0, four DHT, SOS and EOI in libjpeg's files.
const MARKER_BYTES = 2 + 18 + 2 * 69 + 19 + 2 * (33 + 183) + 14 + 2;

/**
 * Computes the exact size in bytes of the file that libjpeg(-turbo) writes for an image: baseline, 4:2:0, standard
 * Huffman tables, integer DCT, as in Pillow's `save(quality=…)` and in sharp with `optimiseCoding: false`. DDPO's
 * reward is −bytes/1000 at quality 95. Not differentiable; see `jpegKilobytes`.
 * @param options.quality an integer from 1 to 100
 * @throws if the data does not have height·width·3 values, or the quality is out of range
 */
export function jpegSize({ data, height, width }: RgbImage, { quality = 95 }: { quality?: number } = {}): number {
  if (
    !Number.isInteger(height) ||
    !Number.isInteger(width) ||
    height < 1 ||
    width < 1 ||
    data.length !== height * width * 3
  )
    throw new Error(`jpegSize: data got ${data.length} values for ${height}×${width} pixels, expected height·width·3.`);
  const tables = quantizationTables(quality);
  const [luma, blue, red] = toPlanes({ data, height, width });
  const components = [
    { blocks: blocksOf(luma, tables.luma), codes: lumaCodes, side: 2 },
    { blocks: blocksOf(halved(blue), tables.chroma), codes: chromaCodes, side: 1 },
    { blocks: blocksOf(halved(red), tables.chroma), codes: chromaCodes, side: 1 },
  ];
  const stream = new HuffmanCounter(components.length);
  for (let row = 0; row < Math.ceil(height / 16); row++)
    for (let column = 0; column < Math.ceil(width / 16); column++)
      components.forEach(({ blocks, codes, side }, index) => {
        for (let y = 0; y < side; y++)
          for (let x = 0; x < side; x++) stream.block(blocks(row * side + y, column * side + x), codes, index);
      });
  return MARKER_BYTES + stream.bytes();
}

/** Converts to YCbCr by JFIF's formula in libjpeg's 16-bit fixed point; the mean of chroma is 128. */
function toPlanes({ data, height, width }: RgbImage): [Plane, Plane, Plane] {
  const planes = [0, 1, 2].map(() => ({ height, width, values: new Int32Array(height * width) })) as [
    Plane,
    Plane,
    Plane,
  ];
  for (let i = 0; i < height * width; i++) {
    const [r, g, b] = [data[3 * i]!, data[3 * i + 1]!, data[3 * i + 2]!];
    planes[0].values[i] = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16;
    planes[1].values[i] = (-11059 * r - 21709 * g + 32768 * b + (128 << 16) + 32767) >> 16;
    planes[2].values[i] = (32768 * r - 27439 * g - 5329 * b + (128 << 16) + 32767) >> 16;
  }
  return planes;
}

/** Averages 2×2 pixels. libjpeg rounds up in every other column, and repeats the last row and column. */
function halved({ height, width, values }: Plane): Plane {
  const [rows, columns] = [Math.ceil(height / 2), 8 * Math.ceil(width / 16)];
  const half = { height: rows, width: columns, values: new Int32Array(rows * columns) };
  const at = (y: number, x: number) => values[Math.min(y, height - 1) * width + Math.min(x, width - 1)]!;
  for (let y = 0; y < rows; y++)
    for (let x = 0; x < columns; x++)
      half.values[y * columns + x] =
        (at(2 * y, 2 * x) + at(2 * y, 2 * x + 1) + at(2 * y + 1, 2 * x) + at(2 * y + 1, 2 * x + 1) + 1 + (x & 1)) >> 2;
  return half;
}
