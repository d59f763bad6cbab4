import type { RgbImage } from './png.js';

/** A canvas of a page, an OffscreenCanvas, or one of a package for Node. */
export interface Canvas {
  width: number;
  height: number;
  getContext(type: '2d'): CanvasContext | null;
}

/** A context that draws in two dimensions. */
export interface CanvasContext {
  createImageData(width: number, height: number): { readonly data: Uint8ClampedArray };
  putImageData(pixels: { readonly data: Uint8ClampedArray }, left: number, top: number): void;
}

/** HTMLCanvasElement, where the types of browsers are known. */
export type BrowserCanvas = typeof globalThis extends { HTMLCanvasElement: { prototype: infer Element } }
  ? Element
  : Canvas;

/** Creates a canvas of the page. @throws where there is no page: in workers and in Node */
export function newCanvas(): Canvas {
  const { document } = globalThis as { document?: { createElement(name: 'canvas'): Canvas } };
  if (document) return document.createElement('canvas');
  throw new Error(
    'GeneratedImage.toCanvas: got no canvas, and there is no page to create one of. Pass a canvas: an ' +
      'OffscreenCanvas in a worker, one of a package such as @napi-rs/canvas in Node. Or call toSharp, or save.',
  );
}

/** Gives a canvas the size of an image and draws it. @throws if the canvas has another kind of context already */
export function drawOnCanvas<C extends Canvas>({ data, width, height }: RgbImage, canvas: C): C {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d');
  if (!context)
    throw new Error("GeneratedImage.toCanvas: the canvas has no context '2d', but another one. Pass a new canvas.");
  const pixels = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    pixels.data.set(data.subarray(3 * i, 3 * i + 3), 4 * i);
    pixels.data[4 * i + 3] = 255; // opaque
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}
