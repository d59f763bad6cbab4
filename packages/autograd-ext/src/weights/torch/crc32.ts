// Slicing by eight: entry k·256 + b is the checksum of byte b followed by k zeros.
let tables: Int32Array | undefined;

/**
 * Computes the checksum of zip archives (CRC-32, reflected polynomial 0xedb88320) as an unsigned number.
 * @param crc the checksum of the preceding bytes, to compute a checksum in pieces
 */
export function crc32(bytes: Uint8Array, crc = 0): number {
  return native ? native(bytes, crc) : computeCrc32(bytes, crc);
}

/** Node's own implementation, in 20.19 and newer; undefined in browsers. */
const native = globalThis.process?.getBuiltinModule?.('node:zlib')?.crc32;

/** Computes the checksum without Node; see `crc32`. */
export function computeCrc32(bytes: Uint8Array, crc = 0): number {
  const t = (tables ??= buildTables());
  let c = ~crc;
  let i = 0;
  for (const end = bytes.length - 7; i < end; i += 8) {
    c ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24);
    c =
      t[0x700 | (c & 0xff)]! ^
      t[0x600 | ((c >>> 8) & 0xff)]! ^
      t[0x500 | ((c >>> 16) & 0xff)]! ^
      t[0x400 | (c >>> 24)]! ^
      t[0x300 | bytes[i + 4]!]! ^
      t[0x200 | bytes[i + 5]!]! ^
      t[0x100 | bytes[i + 6]!]! ^
      t[bytes[i + 7]!]!;
  }
  for (; i < bytes.length; i++) c = (c >>> 8) ^ t[(c ^ bytes[i]!) & 0xff]!;
  return ~c >>> 0;
}

function buildTables(): Int32Array {
  const t = new Int32Array(8 * 256);
  for (let b = 0; b < 256; b++) {
    let c = b;
    for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
    t[b] = c;
  }
  for (let i = 256; i < t.length; i++) t[i] = (t[i - 256]! >>> 8) ^ t[t[i - 256]! & 0xff]!;
  return t;
}
