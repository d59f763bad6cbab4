import { convertIndexedToRgb, decode, encode, type DecodedPng } from 'fast-png';
import { insertText, readTexts } from './png-text.js';

/** 8-bit RGB, row by row: `[height, width, 3]`. */
export interface RgbImage {
  readonly data: Uint8Array;
  readonly height: number;
  readonly width: number;
}

export interface EncodePngOptions {
  /** In pixels. */
  height: number;
  width: number;
  /** What made the image, kept under the key `parameters`, where image tools look for it; see `formatParameters`. */
  parameters?: string;
}

/**
 * Bytes `[height, width, 3]` as a PNG file, 8 bits a channel.
 * @throws if there are not height · width · 3 bytes
 */
export function encodePng(data: Uint8Array, { height, width, parameters }: EncodePngOptions): Uint8Array {
  if (data.length === 0 || data.length !== height * width * 3) {
    throw new Error(`encodePng: data got ${data.length} bytes, expected height ${height} × width ${width} × 3.`);
  }
  const png = encode({ data, height, width, channels: 3, depth: 8 });
  return parameters === undefined ? png : insertText(png, 'parameters', parameters);
}

/**
 * A PNG file as 8-bit RGB, with its text chunks. Grey becomes three equal channels, alpha is left out, 16 bits lose the
 * lower 8.
 * @throws if the bytes are no PNG or a damaged one, or grey with less than 8 bits
 */
export function decodePng(png: Uint8Array): RgbImage & { readonly text: Readonly<Record<string, string>> } {
  const decoded = decodeChecked(png);
  const { height, width } = decoded;
  return { data: rgb(decoded), height, width, text: readTexts(png) };
}

function decodeChecked(png: Uint8Array): DecodedPng {
  try {
    return decode(png, { checkCrc: true });
  } catch (cause) {
    throw new Error(`decodePng: ${png.length} bytes are no PNG file, or a damaged one.`, { cause });
  }
}

function rgb(decoded: DecodedPng): Uint8Array {
  const { data, channels, depth, height, width, palette } = decoded;
  if (palette) return pick(convertIndexedToRgb(decoded), palette[0]!.length, height * width);
  if (depth < 8)
    throw new Error(`decodePng: grey of ${depth} bits is not supported, expected 8 or 16. Save the image with 8 bits.`);
  return pick(depth === 16 ? Uint8Array.from(data, (value) => value >> 8) : data, channels, height * width);
}

function pick(data: ArrayLike<number>, channels: number, pixels: number): Uint8Array {
  const bytes = new Uint8Array(pixels * 3);
  for (let i = 0; i < bytes.length; i++) {
    const channel = channels < 3 ? 0 : i % 3;
    bytes[i] = data[Math.floor(i / 3) * channels + channel]!;
  }
  return bytes;
}
