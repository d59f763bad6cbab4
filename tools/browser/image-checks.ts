import type { Canvas, GeneratedImage } from '@alignprop/diffusion';

/** The members of a browser that the checks use; the types of pages are not among those of Node. */
interface Page {
  createImageBitmap(blob: Blob): Promise<{ readonly width: number; readonly height: number }>;
  OffscreenCanvas: new (width: number, height: number) => Canvas;
}
interface Drawing {
  drawImage(bitmap: object, left: number, top: number): void;
  getImageData(left: number, top: number, width: number, height: number): { readonly data: Uint8ClampedArray };
}

/** Draws an image on canvases of the page and as files, and compares the pixels. @throws if one differs */
export async function checkImage(image: GeneratedImage, expected: Uint8Array): Promise<void> {
  const { createImageBitmap, OffscreenCanvas } = globalThis as unknown as Page;
  const { width, height } = image;
  same('toUint8', await image.toUint8(), expected);
  same('toCanvas()', rgbOf(image.toCanvas()), expected);
  const blob = await image.toBlob();
  if (blob.type !== 'image/png') throw new Error(`toBlob got the type '${blob.type}', expected 'image/png'.`);
  const canvas = new OffscreenCanvas(width, height);
  (canvas.getContext('2d') as unknown as Drawing).drawImage(await createImageBitmap(blob), 0, 0);
  same('the PNG file', rgbOf(canvas), expected);
  for (const type of ['image/jpeg', 'image/webp'] as const) {
    const lossy = await image.toBlob(type, { quality: 90 });
    const bitmap = await createImageBitmap(lossy);
    if (lossy.type !== type || bitmap.width !== width || bitmap.height !== height)
      throw new Error(`toBlob('${type}') got ${bitmap.width} × ${bitmap.height} of '${lossy.type}'.`);
  }
  await refusal(image.save('image.png'), 'a browser has no files');
  image.dispose();
  await refusal(image.toUint8(), 'the image was disposed');
}

function rgbOf(canvas: Canvas): Uint8Array {
  const { width, height } = canvas;
  const { data } = (canvas.getContext('2d') as unknown as Drawing).getImageData(0, 0, width, height);
  return Uint8Array.from(data.filter((_, i) => i % 4 !== 3));
}

function same(name: string, actual: Uint8Array, expected: Uint8Array): void {
  const at = expected.findIndex((value, i) => actual[i] !== value);
  if (actual.length !== expected.length || at >= 0)
    throw new Error(`${name} got ${actual.length} bytes, ${actual[at]} at ${at}, expected ${expected[at]}.`);
}

async function refusal(promise: Promise<unknown>, message: string): Promise<void> {
  const error = await promise.then(
    () => new Error('nothing was thrown'),
    (thrown: unknown) => thrown as Error,
  );
  if (!error.message.includes(message)) throw new Error(`got '${error.message}', expected '${message}'.`);
}
