/** A table of 64 divisors, row by row; rows are vertical frequencies. */
export type QuantizationTable = readonly number[];

// ITU-T T.81 (the JPEG standard), annex K, tables K.1 and K.2.
const luma: QuantizationTable = [
  16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
  87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
  72, 92, 95, 98, 112, 100, 103, 99,
];
const chroma: QuantizationTable = [
  17,
  18,
  24,
  47,
  99,
  99,
  99,
  99,
  18,
  21,
  26,
  66,
  99,
  99,
  99,
  99,
  24,
  26,
  56,
  99,
  99,
  99,
  99,
  99,
  47,
  66,
  99,
  99,
  99,
  99,
  99,
  99,
  ...Array<number>(32).fill(99),
];

/**
 * Returns libjpeg's tables for a quality, limited to 1 … 255 for baseline JPEG.
 * @param quality an integer from 1 to 100
 * @throws if the quality is out of range
 */
export function quantizationTables(quality: number): {
  readonly luma: QuantizationTable;
  readonly chroma: QuantizationTable;
} {
  if (!Number.isInteger(quality) || quality < 1 || quality > 100)
    throw new Error(`jpeg: quality got ${quality}, expected an integer from 1 to 100.`);
  const percent = quality < 50 ? Math.floor(5000 / quality) : 200 - 2 * quality;
  const scale = (table: QuantizationTable) =>
    table.map((value) => Math.min(255, Math.max(1, Math.floor((value * percent + 50) / 100))));
  return { luma: scale(luma), chroma: scale(chroma) };
}
