import { excerpt } from '@alignprop/autograd-ext/outside';
import { joinBytes } from '@alignprop/autograd-ext/weights';
import { Unzlib } from 'fflate';

/** A part of a PNG file. */
export interface PngChunk {
  /** Four letters: `IHDR`, `IDAT`, … */
  readonly type: string;
  readonly data: Uint8Array;
  /** The whole chunk, with its length, type and checksum. */
  readonly bytes: Uint8Array;
}

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const FRAME = 12; // length, type and checksum
/** The most bytes of an image's pixels when decoded: 33 megapixels of RGB. Decoding takes four times as much memory. */
const MAX_PIXEL_BYTES = 100_000_000;
/** The chunks that make the image. Others, such as colour profiles and texts, may be bombs. */
const NEEDED = ['IHDR', 'PLTE', 'tRNS', 'IDAT', 'IEND'];
/** Channels by colour type. */
const CHANNELS = new Map([
  [0, 1],
  [2, 3],
  [3, 1],
  [4, 2],
  [6, 4],
]);
/** The passes of an interlaced image: the first pixel and the distance between pixels, across and down. */
const PASSES = [
  [0, 8, 0, 8],
  [4, 8, 0, 8],
  [0, 4, 4, 8],
  [2, 4, 0, 4],
  [0, 2, 2, 4],
  [1, 2, 0, 2],
  [0, 1, 1, 2],
] as const;

/** Splits a PNG file into its chunks. @throws if it is no PNG file, or was cut off */
export function pngChunks(png: Uint8Array): readonly PngChunk[] {
  if (!SIGNATURE.every((byte, i) => png[i] === byte)) throw new Error('it does not begin as a PNG file does');
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  const chunks: PngChunk[] = [];
  for (let at = SIGNATURE.length; at < png.length;) {
    const length = at + FRAME <= png.length ? view.getUint32(at) : Infinity;
    const end = at + FRAME + length;
    if (end > png.length) throw new Error('it was cut off');
    const type = String.fromCharCode(...png.subarray(at + 4, at + 8));
    chunks.push({ type, data: png.subarray(at + 8, end - 4), bytes: png.subarray(at, end) });
    if (type === 'IEND') return chunks;
    at = end;
  }
  throw new Error('it was cut off');
}

/**
 * Returns the file with nothing but its image, after checks that bound the memory that decoding it takes.
 * @throws if the image has more than 100 MB of pixels, or the compressed data is not as long as its pixels
 */
export function checkedImage(chunks: readonly PngChunk[]): Uint8Array {
  const length = pixelLength(chunks);
  let inflated = 0;
  const inflator = new Unzlib((piece) => {
    inflated += piece.length;
    if (inflated > length) throw new Error(`its pixels got more than ${length} bytes, expected ${length}`);
  });
  for (const { data } of chunks.filter(({ type }) => type === 'IDAT'))
    for (let at = 0; at < data.length; at += PIECE) inflator.push(data.subarray(at, at + PIECE));
  if (inflated !== length) throw new Error(`its pixels got ${inflated} bytes, expected ${length}`);
  const needed = chunks.filter(({ type }) => NEEDED.includes(type)).map(({ bytes }) => bytes);
  return joinBytes([Uint8Array.from(SIGNATURE), ...needed]);
}

/** The bytes that are decompressed at a time: deflate makes at most a thousand times as many of them. */
const PIECE = 2 ** 14;

/** Returns the size of the pixels, with a byte before each row that names its filter. */
function pixelLength([header]: readonly PngChunk[]): number {
  if (header?.type !== 'IHDR' || header.data.length !== 13)
    throw new Error(`it got the first chunk '${excerpt(header?.type ?? '')}', expected IHDR with 13 bytes`);
  const view = new DataView(header.data.buffer, header.data.byteOffset);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, colour, , , interlace] = header.data.subarray(8);
  const channels = CHANNELS.get(colour!);
  if (!width || !height || channels === undefined)
    throw new Error(`it got ${width} × ${height} pixels of colour type ${colour}, expected an image`);
  const bytes = width * height * Math.max(3, (channels * depth!) / 8);
  if (bytes > MAX_PIXEL_BYTES)
    throw new Error(
      `it got ${width} × ${height} pixels, ${bytes} bytes, expected at most ${MAX_PIXEL_BYTES}. Make the image smaller`,
    );
  const size = (columns: number, rows: number) =>
    columns === 0 ? 0 : rows * (1 + Math.ceil((columns * channels * depth!) / 8));
  if (interlace !== 1) return size(width, height);
  const along = (pixels: number, first: number, step: number) => Math.max(0, Math.ceil((pixels - first) / step));
  return PASSES.reduce((sum, [x, dx, y, dy]) => sum + size(along(width, x, dx), along(height, y, dy)), 0);
}
