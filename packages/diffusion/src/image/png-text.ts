import { record } from '@alignprop/autograd-ext/outside';
import { joinBytes } from '@alignprop/autograd-ext/weights';
import type { PngChunk } from './png-chunks.js';
// Text chunks of PNG files (PNG specification, §11.3.3). fast-png writes tEXt alone, which is Latin-1, and writes it
// after the pixels, where readers that stop at the first IDAT chunk do not find it.

const signatureLength = 8;
const headerEnd = signatureLength + 25; // the IHDR chunk always comes first
const isLatin1 = (text: string) => /^[\n\x20-\x7e\xa0-\xff]*$/.test(text);

/** Returns the file with a text chunk after its header: tEXt for Latin-1 text, else iTXt in UTF-8, as Pillow does. */
export function insertText(png: Uint8Array, keyword: string, text: string): Uint8Array {
  const head = latin1(`${keyword}\0`);
  const noOptions = new Uint8Array(4); // iTXt: not compressed, no language, no translated keyword
  const chunk = isLatin1(text)
    ? makeChunk('tEXt', joinBytes([head, latin1(text)]))
    : makeChunk('iTXt', joinBytes([head, noOptions, new TextEncoder().encode(text)]));
  return joinBytes([png.subarray(0, headerEnd), chunk, png.subarray(headerEnd)]);
}

/** The most bytes of a text that is read. ComfyUI's graphs, the longest in use, have less than a tenth. */
const MAX_TEXT = 2 ** 20;

/** Returns the texts of a PNG file by keyword; skips compressed texts, and those of more than 1 MiB. */
export function readTexts(chunks: readonly PngChunk[]): Record<string, string> {
  return record(
    chunks
      .filter(({ data }) => data.length <= MAX_TEXT)
      .flatMap(({ type, data }) =>
        type === 'tEXt' ? readTextChunk(data) : type === 'iTXt' ? readInternationalTextChunk(data) : [],
      ),
  );
}

type Text = readonly [keyword: string, text: string];

function readTextChunk(data: Uint8Array): Text[] {
  const keywordEnd = data.indexOf(0);
  return keywordEnd < 0 ? [] : [[fromLatin1(data.subarray(0, keywordEnd)), fromLatin1(data.subarray(keywordEnd + 1))]];
}

function readInternationalTextChunk(data: Uint8Array): Text[] {
  const keywordEnd = data.indexOf(0);
  if (keywordEnd < 0 || data[keywordEnd + 1] !== 0) return []; // compressed
  const languageEnd = data.indexOf(0, keywordEnd + 3);
  const translatedEnd = data.indexOf(0, languageEnd + 1);
  return [[fromLatin1(data.subarray(0, keywordEnd)), new TextDecoder().decode(data.subarray(translatedEnd + 1))]];
}

function makeChunk(type: string, data: Uint8Array): Uint8Array {
  const body = joinBytes([latin1(type), data]);
  return joinBytes([uint32(data.length), body, uint32(crc32(body))]);
}

/** The cyclic redundancy check of the PNG specification, annex D. */
function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}

/** Four bytes, big-endian. */
const uint32 = (value: number) => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
const latin1 = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
// TextDecoder('latin1') is windows-1252, which differs between 0x80 and 0x9f.
const fromLatin1 = (bytes: Uint8Array) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');
