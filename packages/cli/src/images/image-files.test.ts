import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tensor4d } from '@tensorflow/tfjs-core';
import { describe, expect, it } from 'vitest';
import { useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { decodePng } from '@alignprop/diffusion';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { imageNames, prepareFolder, writeSheet } from './image-files.js';

const folder = temporaryFolder();

describe('imageNames', () => {
  it('numbers the names of several images', () => {
    expect(imageNames('a/crab.png', 1)).toEqual(['a/crab.png']);
    expect(imageNames('a.b/crab.png', 2)).toEqual(['a.b/crab-1.png', 'a.b/crab-2.png']);
  });
});

describe('prepareFolder', () => {
  it('creates nested folders, and names a folder that it cannot create', async () => {
    await prepareFolder(join(folder, 'a/b'));
    expect((await stat(join(folder, 'a/b'))).isDirectory()).toBe(true);
    await writeFile(join(folder, 'file'), '');
    await expect(prepareFolder(join(folder, 'file/x'))).rejects.toThrow(
      /output: cannot write to '.*file.x': .*Choose another folder/,
    );
  });
});

describe('writeSheet', () => {
  it('enlarges small images and arranges them in rows', async () => {
    await useBackend('cpu');
    await expectNoLeaks(async () => {
      const images = tensor4d(
        Float32Array.from({ length: 3 * 32 * 32 * 3 }, (_, i) => Math.floor(i / (32 * 32 * 3)) / 2),
        [3, 32, 32, 3],
      );
      await writeSheet(join(folder, 's.png'), images, { columns: 2, parameters: 'three' });
      images.dispose();
    });
    const { width, height, data, text } = decodePng(await readFile(join(folder, 's.png')));
    expect([width, height, text.parameters]).toEqual([2 * 128 + 3 * 4, 2 * 128 + 3 * 4, 'three']);
    const at = (x: number, y: number) => data[(y * width + x) * 3];
    expect([at(0, 0), at(70, 70), at(200, 70), at(70, 200), at(200, 200)]).toEqual([255, 0, 128, 255, 255]);
  });
});
