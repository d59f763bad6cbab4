import { excerpt } from '@alignprop/autograd-ext/outside';
import { checkOptions, optionNames } from '@alignprop/autograd-ext';
import { drawOnCanvas, type Canvas } from './canvas.js';
import { encodePng, type RgbImage } from './png.js';
import { openSharp } from './sharp.js';

/** The formats of image files. */
export type ImageType = 'image/png' | 'image/jpeg' | 'image/webp';

/** Options of an image file. */
export interface ImageEncoding {
  /** The text `parameters` of a PNG file: the settings by default, null for none; see `formatParameters`. */
  parameters?: string | null;
  /** The quality of JPEG and WebP files, from 1 to 100; 80 by default. */
  quality?: number;
}

const names = optionNames<ImageEncoding>({ parameters: true, quality: true });

/** The ends of names, by format. */
const extensions: readonly (readonly [ImageType, RegExp])[] = [
  ['image/png', /\.png$/i],
  ['image/jpeg', /\.jpe?g$/i],
  ['image/webp', /\.webp$/i],
];

/** Returns the format that the name of a file asks for. @throws if it ends otherwise */
export function typeOfPath(path: string): ImageType {
  const found = extensions.find(([, end]) => end.test(path));
  if (found) return found[0];
  throw new Error(
    `GeneratedImage.save: path got '${excerpt(path)}', expected a name that ends in .png, .jpg, .jpeg or .webp.`,
  );
}

/**
 * Encodes an image as a file: PNG here, other formats by the browser, or by sharp in Node.
 * @throws for another format, options that the format does not have, and where nothing encodes it
 */
export async function encodeImage(image: RgbImage, type: ImageType, options: ImageEncoding): Promise<Uint8Array> {
  checkEncoding(type, options);
  const { data, height, width } = image;
  const { parameters, quality = 80 } = options;
  if (type === 'image/png') return encodePng(data, { height, width, parameters: parameters ?? undefined });
  const { OffscreenCanvas } = globalThis as { OffscreenCanvas?: OffscreenCanvasClass };
  if (OffscreenCanvas) return encodeWithCanvas(drawOnCanvas(image, new OffscreenCanvas(width, height)), type, quality);
  const sharp = await openSharp(image);
  return (type === 'image/jpeg' ? sharp.jpeg({ quality }) : sharp.webp({ quality })).toBuffer();
}

interface OffscreenCanvas extends Canvas {
  convertToBlob(options: { type: string; quality?: number }): Promise<Blob>;
}
type OffscreenCanvasClass = new (width: number, height: number) => OffscreenCanvas;

async function encodeWithCanvas(canvas: OffscreenCanvas, type: ImageType, quality: number): Promise<Uint8Array> {
  const blob = await canvas.convertToBlob({ type, quality: quality / 100 });
  if (blob.type === type) return new Uint8Array(await blob.arrayBuffer());
  throw new Error(`GeneratedImage: type got '${type}', which this browser does not encode. Take 'image/png'.`);
}

function checkEncoding(type: ImageType, options: ImageEncoding): void {
  checkOptions('GeneratedImage', options, names);
  const { parameters, quality } = options;
  const types = extensions.map(([name]) => name);
  if (!types.includes(type))
    throw new Error(`GeneratedImage: type got '${excerpt(type)}', expected one of ${types.join(', ')}.`);
  const isPng = type === 'image/png';
  if (isPng && quality !== undefined)
    throw new Error(`GeneratedImage: quality got ${quality} for a PNG file, which loses nothing. Leave it out.`);
  if (!isPng && parameters)
    throw new Error(`GeneratedImage: parameters got a text for ${type}, expected image/png. Leave it out.`);
  if (quality !== undefined && !(Number.isInteger(quality) && quality >= 1 && quality <= 100))
    throw new Error(`GeneratedImage: quality got ${quality}, expected an integer from 1 to 100.`);
}
