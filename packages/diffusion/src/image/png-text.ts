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
    ? makeChunk('tEXt', join(head, latin1(text)))
    : makeChunk('iTXt', join(head, noOptions, new TextEncoder().encode(text)));
  return join(png.subarray(0, headerEnd), chunk, png.subarray(headerEnd));
}

/** Returns the texts of a complete PNG file by keyword; skips compressed texts. */
export function readTexts(png: Uint8Array): Record<string, string> {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  const texts: Record<string, string> = {};
  for (let offset = signatureLength; offset + 12 <= png.length; offset += 12 + view.getUint32(offset)) {
    const type = String.fromCharCode(...png.subarray(offset + 4, offset + 8));
    const data = png.subarray(offset + 8, offset + 8 + view.getUint32(offset));
    if (type === 'tEXt') Object.assign(texts, readTextChunk(data));
    if (type === 'iTXt') Object.assign(texts, readInternationalTextChunk(data));
  }
  return texts;
}

function readTextChunk(data: Uint8Array): Record<string, string> {
  const keywordEnd = data.indexOf(0);
  return { [fromLatin1(data.subarray(0, keywordEnd))]: fromLatin1(data.subarray(keywordEnd + 1)) };
}

function readInternationalTextChunk(data: Uint8Array): Record<string, string> {
  const keywordEnd = data.indexOf(0);
  if (data[keywordEnd + 1] !== 0) return {}; // compressed
  const languageEnd = data.indexOf(0, keywordEnd + 3);
  const translatedEnd = data.indexOf(0, languageEnd + 1);
  return { [fromLatin1(data.subarray(0, keywordEnd))]: new TextDecoder().decode(data.subarray(translatedEnd + 1)) };
}

function makeChunk(type: string, data: Uint8Array): Uint8Array {
  const body = join(latin1(type), data);
  return join(uint32(data.length), body, uint32(crc32(body)));
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

function join(...parts: Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}
