// Text chunks of PNG files (PNG specification, §11.3.3). fast-png knows tEXt alone, whose alphabet is Latin-1, and
// writes it after the pixels, where readers that stop at the header do not see it.
const signatureLength = 8;
const headerEnd = signatureLength + 25; // the IHDR chunk always comes first
const isLatin1 = (text: string) => /^[\n\x20-\x7e\xa0-\xff]*$/.test(text);

/** The file with a text chunk after its header: tEXt where Latin-1 is enough, else iTXt in UTF-8, as Pillow chooses. */
export function insertText(png: Uint8Array, keyword: string, text: string): Uint8Array {
  const head = latin1(`${keyword}\0`);
  const chunk = isLatin1(text)
    ? makeChunk('tEXt', join(head, latin1(text)))
    : makeChunk('iTXt', join(head, new Uint8Array(4), new TextEncoder().encode(text))); // not compressed, no language, no translated keyword
  return join(png.subarray(0, headerEnd), chunk, png.subarray(headerEnd));
}

/** The texts of a file by keyword; compressed ones are left out. The file must be a whole PNG. */
export function readTexts(png: Uint8Array): Record<string, string> {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  const texts: Record<string, string> = {};
  for (let offset = signatureLength; offset + 12 <= png.length; offset += 12 + view.getUint32(offset)) {
    const type = String.fromCharCode(...png.subarray(offset + 4, offset + 8));
    const data = png.subarray(offset + 8, offset + 8 + view.getUint32(offset));
    if (type === 'tEXt') Object.assign(texts, readLatin1(data));
    if (type === 'iTXt') Object.assign(texts, readUtf8(data));
  }
  return texts;
}

function readLatin1(data: Uint8Array): Record<string, string> {
  const end = data.indexOf(0);
  return { [fromLatin1(data.subarray(0, end))]: fromLatin1(data.subarray(end + 1)) };
}

function readUtf8(data: Uint8Array): Record<string, string> {
  const keyword = data.indexOf(0);
  if (data[keyword + 1] !== 0) return {}; // compressed
  const language = data.indexOf(0, keyword + 3);
  const translated = data.indexOf(0, language + 1);
  return { [fromLatin1(data.subarray(0, keyword))]: new TextDecoder().decode(data.subarray(translated + 1)) };
}

function makeChunk(type: string, data: Uint8Array): Uint8Array {
  const body = join(latin1(type), data);
  return join(uint32(data.length), body, uint32(crc32(body)));
}

/** PNG specification, annex D. */
function crc32(bytes: Uint8Array): number {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}

const uint32 = (value: number) => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
const latin1 = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
// TextDecoder's 'latin1' is windows-1252, another alphabet between 0x80 and 0x9f.
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
