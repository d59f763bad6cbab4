import { isUtf8 } from 'node:buffer';
import { readFile } from 'node:fs/promises';
import { UsageError } from '../terminal/errors.js';

/**
 * Reads a text file in UTF-8, with or without a byte order mark, or in UTF-16 with one, as Windows' editors and shells
 * write it. Leaves out the mark.
 * @param flag the flag that names the file, with which errors begin
 * @throws UsageError if the file cannot be read, or has another encoding: names it, or the first line that is not UTF-8
 */
export async function readTextFile(path: string, flag: string): Promise<string> {
  const bytes = await readFile(path).catch((cause: unknown) => {
    throw new UsageError(`${flag}: cannot read '${path}': ${(cause as Error).message}.`, { cause });
  });
  return decodeText(bytes, path, flag);
}

/**
 * Decodes the bytes of a text file as `readTextFile` does.
 * @throws UsageError if they have another encoding
 */
export function decodeText(bytes: Uint8Array, path: string, flag: string): string {
  const refuse = (found: string): never => {
    throw new UsageError(`${flag}: got '${path}', ${found}. Expected text in UTF-8: save it with that encoding.`);
  };
  const text = decode(bytes, refuse);
  if (!text.includes('\0')) return text;
  return refuse('which has NUL characters: UTF-16 without a byte order mark, or no text');
}

const startsWith = (bytes: Uint8Array, ...start: readonly number[]): boolean =>
  start.every((byte, i) => bytes[i] === byte);

function decode(bytes: Uint8Array, refuse: (found: string) => never): string {
  if (startsWith(bytes, 0xff, 0xfe, 0, 0) || startsWith(bytes, 0, 0, 0xfe, 0xff)) refuse('which is in UTF-32');
  const [first, second] = bytes;
  const isUtf16 = (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff);
  if (isUtf16) return decodeUtf16(bytes, first === 0xff ? 'utf-16le' : 'utf-16be', refuse);
  if (isUtf8(bytes)) return new TextDecoder().decode(bytes);
  return refuse(firstWrongLine(bytes));
}

function decodeUtf16(bytes: Uint8Array, encoding: string, refuse: (found: string) => never): string {
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    return refuse('which begins as UTF-16 and has characters that are not');
  }
}

/** Says which line is the first that is not UTF-8, and its first byte above 0x7f. Lines end with LF, CRLF or CR. */
function firstWrongLine(bytes: Uint8Array): string {
  let line = 1;
  let start = 0;
  for (let i = 0; i <= bytes.length; i++) {
    const isEnd = i === bytes.length || bytes[i] === 0x0a || bytes[i] === 0x0d;
    if (!isEnd) continue;
    const content = bytes.subarray(start, i);
    if (!isUtf8(content)) {
      const byte = content.find((value) => value > 0x7f)!;
      return `line ${line} of which is not UTF-8 (it has the byte 0x${byte.toString(16)}, as in Latin-1)`;
    }
    if (bytes[i] === 0x0d && bytes[i + 1] === 0x0a) i++;
    line++;
    start = i + 1;
  }
  return 'which is not UTF-8';
}
