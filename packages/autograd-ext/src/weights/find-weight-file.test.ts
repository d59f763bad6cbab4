import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startMockHub, type MockHub } from '../../../../fixtures/mock-hub.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { findWeightFile } from './find-weight-file.js';

const folder = temporaryFolder();
const cacheDir = temporaryFolder();
let hub: MockHub;
beforeAll(async () => {
  mkdirSync(join(folder, 'styles', 'one'), { recursive: true });
  mkdirSync(join(folder, 'capitals'));
  for (const name of [
    ...['a.pt', 'usual.bin', 'note.txt', 'styles/b.safetensors', 'styles/b.bin', 'styles/one/c.pt'],
    ...['styles/one/optimizer.bin', 'styles/one/scheduler.bin', 'styles/one/training_args.bin'],
    'capitals/D.SAFETENSORS',
  ])
    writeFileSync(join(folder, name), name);
  hub = await startMockHub({ 'org/name': folder });
});
afterAll(() => hub.close());

/** Finds a file and returns its content. */
async function contentOf(location: string, options: { names?: string[]; file?: string } = {}): Promise<string> {
  const { source, file } = await findWeightFile(location, {
    owner: 'test',
    names: ['usual.safetensors', 'usual.bin'],
    endpoint: hub.endpoint,
    cacheDir,
    ...options,
  });
  const opened = await source.open(file);
  const bytes = await opened.read(0, opened.size);
  await opened.close();
  return new TextDecoder().decode(bytes);
}

describe('findWeightFile', () => {
  it.each<[string, string, object, string]>([
    ['a file', '/a.pt', {}, 'a.pt'],
    ['a folder with the usual name', '', {}, 'usual.bin'],
    ['a folder with one file of safetensors', '/styles', {}, 'styles/b.safetensors'],
    ['a folder with one file of weights beside a training state', '/styles/one', {}, 'styles/one/c.pt'],
    ['a file whose extension has capital letters', '/capitals/D.SAFETENSORS', {}, 'capitals/D.SAFETENSORS'],
    ['a folder with a file whose extension has capital letters', '/capitals', {}, 'capitals/D.SAFETENSORS'],
    ['a folder and a path in it', '', { file: 'styles/one/c.pt' }, 'styles/one/c.pt'],
  ])('finds on this machine and on the hub: %s', async (_, path, options, content) => {
    expect(await contentOf(`${folder}${path}`, options)).toBe(content);
    expect(await contentOf(`org/name${path}`, options)).toBe(content);
  });

  it('lists the files where none has a usual name', async () => {
    const message = /^test: '.*' got a\.pt, usual\.bin, expected one file of weights, or one called x\. .*\/a\.pt'\.$/;
    await expect(contentOf(folder, { names: ['x'] })).rejects.toThrow(message);
    await expect(contentOf('org/name', { names: ['x'] })).rejects.toThrow(message);
  });

  it('names a file in the folders of a folder without one', async () => {
    mkdirSync(join(folder, 'run', 'checkpoint-500'), { recursive: true });
    for (const name of ['optimizer.bin', 'style.safetensors'])
      writeFileSync(join(folder, 'run', 'checkpoint-500', name), name);
    await expect(contentOf(join(folder, 'run'))).rejects.toThrow(
      /got no file of weights, .* Name one in its folders .*: '.*run\/checkpoint-500\/style\.safetensors'\.$/,
    );
  });

  it('says which extensions a file of weights can have', async () => {
    await expect(contentOf(join(folder, 'note.txt'))).rejects.toThrow(
      /^test: location got the file '.*note\.txt', expected one that ends in \.safetensors, .*its format\.$/,
    );
  });

  it('says that a file or folder is not there', async () => {
    await expect(contentOf(join(folder, 'none.pt'))).rejects.toThrow(/none\.pt': there is no such file/);
    await expect(contentOf('./none/none.pt')).rejects.toThrow(/none\.pt': there is no such file/);
    await expect(contentOf('none')).rejects.toThrow(/location got 'none', expected an existing folder or a hub id/);
    await expect(contentOf('org/name/none.pt')).rejects.toThrow(/'none\.pt' of 'org\/name' does not exist/);
    await expect(contentOf('org/name/none')).rejects.toThrow(/none' got no file of weights/);
  });
});
