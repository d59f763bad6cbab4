import { excerpt } from '@alignprop/autograd-ext/outside';
import { convertIndexedToRgb, decode, encode, type DecodedPng } from 'fast-png';
import { checkedImage, pngChunks, type PngChunk } from './png-chunks.js';
import { insertText, readTexts } from './png-text.js';

/** An image of 8-bit RGB pixels, row by row. */
export interface RgbImage {
  /** `[height, width, 3]` */
  readonly data: Uint8Array;
  /** In pixels. */
  readonly height: number;
  readonly width: number;
}

/** Options of `encodePng`. */
export interface EncodePngOptions {
  /** In pixels. */
  height: number;
  width: number;
  /** The settings of the generation, stored as the text `parameters` that image tools read; see `formatParameters`. */
  parameters?: string;
}

/**
 * Encodes bytes `[height, width, 3]` as a PNG file with 8 bits per channel.
 * @throws if `data` does not have height · width · 3 bytes
 */
export function encodePng(data: Uint8Array, { height, width, parameters }: EncodePngOptions): Uint8Array {
  if (data.length === 0 || data.length !== height * width * 3) {
    throw new Error(`encodePng: data got ${data.length} bytes, expected height ${height} × width ${width} × 3.`);
  }
  const png = encode({ data, height, width, channels: 3, depth: 8 });
  return parameters === undefined ? png : insertText(png, 'parameters', parameters);
}

/**
 * Decodes a PNG file to 8-bit RGB, with its text chunks. Repeats a grey channel three times, drops alpha, and keeps the
 * upper 8 of 16 bits. Leaves out texts of more than 1 MiB.
 * @throws if the bytes are not a PNG file, the file is damaged, it is grey with fewer than 8 bits, or its pixels take
 *   more than 100 MB (33 megapixels of RGB)
 */
export function decodePng(png: Uint8Array): RgbImage & { readonly text: Readonly<Record<string, string>> } {
  const { chunks, decoded } = decodeChecked(png);
  const { height, width } = decoded;
  return { data: toRgb(decoded), height, width, text: readTexts(chunks) };
}

function decodeChecked(png: Uint8Array): { chunks: readonly PngChunk[]; decoded: DecodedPng } {
  try {
    const chunks = pngChunks(png);
    return { chunks, decoded: decode(checkedImage(chunks), { checkCrc: true }) };
  } catch (cause) {
    const why = excerpt((cause as Error).message, 200);
    throw new Error(`decodePng: ${png.length} bytes are no PNG file, or a damaged one: ${why}.`, { cause });
  }
}

function toRgb(decoded: DecodedPng): Uint8Array {
  const { data, channels, depth, height, width, palette } = decoded;
  if (palette) return pickRgb(convertIndexedToRgb(decoded), palette[0]!.length, height * width);
  if (depth < 8)
    throw new Error(`decodePng: got grey with ${depth} bits, expected 8 or 16. Save the image with 8 bits.`);
  return pickRgb(depth === 16 ? Uint8Array.from(data, (value) => value >> 8) : data, channels, height * width);
}

/** The colour channels of each pixel as bytes, a grey channel repeated. */
function pickRgb(data: ArrayLike<number>, channels: number, pixels: number): Uint8Array {
  const bytes = new Uint8Array(pixels * 3);
  for (let i = 0; i < bytes.length; i++) {
    const channel = channels < 3 ? 0 : i % 3;
    bytes[i] = data[Math.floor(i / 3) * channels + channel]!;
  }
  return bytes;
}
