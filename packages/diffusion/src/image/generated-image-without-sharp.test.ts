import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, vi } from 'vitest';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { GeneratedImage } from './generated-image.js';

vi.mock('sharp', () => {
  throw new Error("Cannot find package 'sharp'");
});
const folder = temporaryFolder();

it('saves PNG files without sharp, and asks for sharp to save other formats', async () => {
  const settings = { prompt: '', steps: 1, sampler: 'DDIMScheduler', guidanceScale: 1, height: 1, width: 2 };
  const image = new GeneratedImage(new Uint8Array(6), settings);
  vi.spyOn(process, 'cwd').mockReturnValue('/'); // where no sharp is installed
  await expect(image.save(join(folder, 'a.webp'))).rejects.toThrow(
    /GeneratedImage: this needs sharp: the package 'sharp' cannot be loaded: .* Run 'npm install sharp'\.$/,
  );
  await expect(image.toSharp()).rejects.toThrow(/this needs sharp/);
  await image.save(join(folder, 'a.png'));
  expect(readdirSync(folder)).toEqual(['a.png']);
});
