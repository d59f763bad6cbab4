import { writeFileAtomic } from '@alignprop/autograd-ext/weights';
import { drawOnCanvas, newCanvas, type BrowserCanvas, type Canvas } from './canvas.js';
import { encodeImage, typeOfPath, type ImageEncoding, type ImageType } from './encode-image.js';
import { formatParameters, type GenerationSettings } from './parameters.js';
import type { RgbImage } from './png.js';
import { openSharp, type SharpImage } from './sharp.js';

/**
 * An image that a pipeline drew. It holds the bytes of its pixels and no tensor: one that is dropped without `dispose`
 * is collected as garbage.
 */
export class GeneratedImage implements RgbImage {
  /** In pixels. */
  readonly height: number;
  readonly width: number;
  /** The options that it was drawn with. */
  readonly settings: GenerationSettings;
  #data: Uint8Array | undefined;

  /**
   * @param data `[height, width, 3]`, which the image takes over
   * @throws if `data` does not have the size of the settings
   */
  constructor(data: Uint8Array, settings: GenerationSettings) {
    const { height, width } = settings;
    if (data.length !== height * width * 3)
      throw new Error(`GeneratedImage: data got ${data.length} bytes, expected height ${height} × width ${width} × 3.`);
    this.height = height;
    this.width = width;
    this.settings = settings;
    this.#data = data;
  }

  /** The bytes themselves, RGB row by row: `[height, width, 3]`. @throws after `dispose` */
  get data(): Uint8Array {
    return this.#bytes('data');
  }

  /** Returns a copy of the bytes, RGB row by row: `[height, width, 3]`. @throws after `dispose` */
  toUint8(): Promise<Uint8Array> {
    return new Promise((resolve) => resolve(this.#bytes('toUint8').slice()));
  }

  /**
   * Writes a file: PNG, or with the package sharp JPEG and WebP, as the name ends. The file is complete or not there;
   * missing folders are created. PNG files hold the settings as A1111 writes them (`parameters`).
   * @throws if the name ends otherwise, sharp is needed and not installed, the file cannot be written, in a browser,
   *   and after `dispose`
   */
  async save(path: string, options: ImageEncoding = {}): Promise<void> {
    this.#bytes('save');
    const type = typeOfPath(path);
    if (typeof process === 'undefined' || process.versions?.node === undefined)
      throw new Error('GeneratedImage.save: a browser has no files. Call toBlob, or toCanvas.');
    const file = await this.#encode('save', type, options);
    await writeFileAtomic(path, file);
  }

  /**
   * Returns the file as a Blob: PNG, or 'image/jpeg' or 'image/webp', which Node encodes with the package sharp and a
   * browser by itself.
   * @throws for another type, if sharp is needed and not installed, and after `dispose`
   */
  async toBlob(type: ImageType = 'image/png', options: ImageEncoding = {}): Promise<Blob> {
    return new Blob([Uint8Array.from(await this.#encode('toBlob', type, options))], { type });
  }

  /**
   * Draws the image on a new canvas of the page.
   * @throws if there is no page, and after `dispose`
   */
  toCanvas(): BrowserCanvas;
  /**
   * Draws the image on a canvas, which gets its size.
   * @param canvas one of a page, an OffscreenCanvas, or one of a package for Node
   * @throws after `dispose`
   */
  toCanvas<C extends Canvas>(canvas: C): C;
  toCanvas(canvas?: Canvas): Canvas {
    this.#bytes('toCanvas');
    return drawOnCanvas(this, canvas ?? newCanvas());
  }

  /**
   * Returns the image as an object of the package sharp, an optional dependency, which resizes and encodes it.
   * `toSharp<Sharp>()` has sharp's own type.
   * @throws if sharp is not installed, and after `dispose`
   */
  async toSharp<S = SharpImage>(): Promise<S> {
    this.#bytes('toSharp');
    return (await openSharp(this)) as S;
  }

  /** Frees the bytes. Height, width and settings stay; every method throws from then on. */
  dispose(): void {
    this.#data = undefined;
  }

  #encode(caller: string, type: ImageType, { parameters, ...options }: ImageEncoding): Promise<Uint8Array> {
    this.#bytes(caller);
    const text = parameters === undefined && type === 'image/png' ? formatParameters(this.settings) : parameters;
    return encodeImage(this, type, { ...options, parameters: text });
  }

  #bytes(caller: string): Uint8Array {
    if (this.#data) return this.#data;
    throw new Error(`GeneratedImage.${caller}: the image was disposed. Call it before dispose.`);
  }
}
