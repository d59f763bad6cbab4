import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { UsageError } from '../terminal/errors.js';
import { readTextFile } from './text-file.js';

const folder = temporaryFolder();
const text = 'ein Löwe\r\nκαι 🦊\n';
const marked = `\ufeff${text}`;

function read(bytes: Uint8Array): Promise<string> {
  writeFileSync(join(folder, 'a.txt'), bytes);
  return readTextFile(join(folder, 'a.txt'), '--prompts');
}

describe('readTextFile', () => {
  it.each([
    ['UTF-8', Buffer.from(text)],
    ['UTF-8 with a byte order mark', Buffer.from(marked)],
    ['UTF-16, little endian, with a byte order mark', Buffer.from(marked, 'utf16le')],
    ['UTF-16, big endian, with a byte order mark', Buffer.from(marked, 'utf16le').swap16()],
  ])('reads %s', async (_, bytes) => expect(await read(bytes)).toBe(text));

  it.each([
    ['Latin-1', Buffer.from('a cat\r\ncafé', 'latin1'), 'line 2 of which is not UTF-8 (it has the byte 0xe9'],
    ['Latin-1 with lines that end with CR', Buffer.from('a\rb\rcafé', 'latin1'), 'line 3 of which is not UTF-8'],
    ['Shift-JIS', Buffer.from([0x94, 0x4c, 0x0a]), 'line 1 of which is not UTF-8 (it has the byte 0x94'],
    ['UTF-16 without a byte order mark', Buffer.from(text, 'utf16le'), 'UTF-8'],
    ['UTF-16 without a mark, ASCII alone', Buffer.from('a cat', 'utf16le'), 'which has NUL characters: UTF-16 without'],
    ['UTF-16 with half a character', Buffer.from([0xff, 0xfe, 0x61]), 'which begins as UTF-16 and has characters'],
    ['UTF-32', Buffer.from([0xff, 0xfe, 0, 0, 0x61, 0, 0, 0]), 'which is in UTF-32'],
  ])('refuses %s in one line that says what it is', async (_, bytes, message) => {
    const error: unknown = await read(bytes).catch((refusal: unknown) => refusal);
    expect(error).toBeInstanceOf(UsageError);
    expect((error as Error).message).toMatch(/^--prompts: got '.*a\.txt', .* Expected text in UTF-8: [^\n]*$/);
    expect((error as Error).message).toContain(message);
  });

  it('names a file that cannot be read', async () => {
    await expect(readTextFile(join(folder, 'none.txt'), '--config')).rejects.toThrow(
      /^--config: cannot read '.*none\.txt': ENOENT/,
    );
    await expect(readTextFile(folder, '--config')).rejects.toThrow('EISDIR');
  });
});
