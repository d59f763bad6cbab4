import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { UsageError } from '../terminal/errors.js';
import { readDataFolder } from './data-folder.js';

const root = temporaryFolder();
let count = 0;

/** A new folder with these files. */
function folderOf(files: Readonly<Record<string, string>>): string {
  const folder = join(root, `${count++}`);
  mkdirSync(folder);
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

describe('readDataFolder', () => {
  it('reads captions from .txt files beside the pictures', async () => {
    const folder = folderOf({ 'b.JPG': '', 'b.txt': ' a fox \n', 'a.png': '', 'a.txt': 'a crab', 'notes.md': 'no' });
    expect(await readDataFolder(folder)).toEqual([
      { path: join(folder, 'a.png'), caption: 'a crab' },
      { path: join(folder, 'b.JPG'), caption: 'a fox' },
    ]);
  });

  it.each([
    ['metadata.jsonl', '{"file_name": "a.png", "text": "a crab"}\n{"file_name": "sub/b.png", "text": "a fox"}\n'],
    ['metadata.csv', 'file_name,text\na.png,a crab\nsub/b.png,a fox\n'],
  ])('reads captions from %s, and leaves other pictures out', async (name, text) => {
    const folder = folderOf({ [name]: text, 'c.png': '' });
    expect(await readDataFolder(folder)).toEqual([
      { path: join(folder, 'a.png'), caption: 'a crab' },
      { path: join(folder, 'sub/b.png'), caption: 'a fox' },
    ]);
  });

  it('takes the column that is named', async () => {
    const row = JSON.stringify({ file_name: 'a.png', text: 'no', title: 'a crab' });
    expect(await readDataFolder(folderOf({ 'metadata.jsonl': row }), 'title')).toMatchObject([{ caption: 'a crab' }]);
  });

  it.each<[string, Record<string, string>, string | undefined, RegExp]>([
    ['no picture', { 'a.txt': 'a' }, undefined, /has no picture, expected files that end with \.png, \.jpg/],
    [
      'pictures without captions',
      { 'a.png': '', 'b.png': '', 'c.png': '', 'c.txt': 'c' },
      undefined,
      /2 of the 3 pictures in .* have no caption: a\.png, b\.png\. Write a\.txt beside the first/,
    ],
    ['an empty caption', { 'a.png': '', 'a.txt': ' \n' }, undefined, /a\.txt' is empty, expected a caption/],
    ['a column without metadata', { 'a.png': '', 'a.txt': 'a' }, 'text', /has no metadata\.jsonl or metadata\.csv/],
    [
      'a wrong column',
      { 'metadata.jsonl': '{"file_name": "a.png", "title": "a"}' },
      undefined,
      /has no column text, caption, prompt in line 1; it has file_name, title\. Give --caption-column with one of them/,
    ],
    [
      'a column that is named and missing',
      { 'metadata.jsonl': '{"file_name": "a.png", "text": "a"}' },
      'titel',
      /has no column titel in line 1/,
    ],
    [
      'metadata without paths',
      { 'metadata.jsonl': '{"image": "a.png", "text": "a"}' },
      undefined,
      /has no column file_name in line 1; it has image, text\.$/,
    ],
    [
      'a caption that is no text',
      { 'metadata.jsonl': '{"file_name": "a.png", "text": "a"}\n{"file_name": "b.png", "text": 7}' },
      undefined,
      /has 7 as 'text' in line 2, expected a text/,
    ],
    [
      'a file outside of the folder',
      { 'metadata.jsonl': '{"file_name": "../a.png", "text": "a"}' },
      undefined,
      /has '\.\.\/a\.png' as 'file_name' in line 1, expected a file in the folder/,
    ],
    ['empty metadata', { 'metadata.jsonl': '' }, undefined, /names no picture, expected at least one/],
    ['damaged metadata', { 'metadata.jsonl': '{"file_name"' }, undefined, /--data-dir: '.*metadata\.jsonl'/],
  ])('refuses %s', async (_, files, column, message) => {
    const error: unknown = await readDataFolder(folderOf(files), column).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UsageError);
    expect((error as Error).message).toMatch(message);
    expect((error as Error).message).toMatch(/^--data-dir: /);
  });

  it('refuses a folder that does not exist', async () => {
    await expect(readDataFolder(join(root, 'none'))).rejects.toThrow(/--data-dir: cannot read '.*none': ENOENT/);
  });
});
