import { expect, it } from 'vitest';
import type { FileSource } from './file-source.js';
import { reopen, type OpenedFile } from './opened-file.js';

/** A file of four bytes, and the calls that open and close it. */
function countedFile() {
  const calls: string[] = [];
  const state = { size: 4 };
  const open = () => {
    calls.push('open');
    return Promise.resolve({
      name: 'weights',
      size: state.size,
      read: (_: number, length: number) => Promise.resolve(new Uint8Array(length)),
      close: () => Promise.resolve(void calls.push('close')),
    });
  };
  const source: FileSource = {
    location: 'test',
    has: () => Promise.resolve(true),
    list: () => Promise.resolve([]),
    open,
  };
  return { calls, state, source, open };
}

async function openedFile() {
  const { source, open, ...counted } = countedFile();
  const opened: OpenedFile = { source, path: 'weights', file: await open() };
  counted.calls.length = 0;
  return { opened, ...counted };
}

const readAll = (opened: OpenedFile) => reopen(opened, (file) => file.read(0, file.size));
const later = () => new Promise((resolve) => setTimeout(resolve, 20));

it('opens the file once for reads that follow at once or overlap, and then closes it', async () => {
  const { opened, calls } = await openedFile();
  for (let i = 0; i < 3; i++) await readAll({ ...opened });
  await Promise.all([readAll(opened), readAll(opened)]);
  expect(calls).toEqual(['open']);
  await later();
  expect(calls).toEqual(['open', 'close']);
});

it('stays open while a read is under way, and closes after a read that fails', async () => {
  const { opened, calls } = await openedFile();
  const long = reopen(opened, later);
  await readAll(opened);
  await long;
  expect(calls).toEqual(['open']);
  await expect(reopen(opened, () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  await later();
  expect(calls).toEqual(['open', 'close']);
});

it('notices a file that has changed, and reads it when it is as before', async () => {
  const { opened, calls, state } = await openedFile();
  await readAll(opened);
  await later();
  state.size = 5;
  const refused = readAll(opened);
  await expect(refused).rejects.toThrow("'weights' got 5 bytes, expected 4: it changed after it was opened");
  expect(calls).toEqual(['open', 'close', 'open', 'close']);
  state.size = 4;
  expect(await readAll(opened)).toHaveLength(4);
});
