import { fileURLToPath } from 'node:url';
import { expect, it, vi } from 'vitest';
import { readImage } from './read-image.js';

vi.mock('sharp', () => {
  throw new Error("Cannot find package 'sharp'");
});

it('reads PNG files without sharp, and asks for sharp to read other formats', async () => {
  expect(await readImage(fileURLToPath(new URL('../__fixtures__/crab.png', import.meta.url)))).toMatchObject({
    height: 64,
    width: 64,
  });
  vi.spyOn(process, 'cwd').mockReturnValue('/'); // where no sharp is installed
  const other = fileURLToPath(import.meta.url);
  await expect(readImage(other)).rejects.toThrow(
    /this is not a PNG file, and other formats need sharp: .*Run 'npm install sharp', or convert it to PNG\./,
  );
});
