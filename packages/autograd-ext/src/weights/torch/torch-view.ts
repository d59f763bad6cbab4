import { DTYPE_BITS } from '../dtypes/dtype.js';
import type { StorageBytes } from './torch-archive.js';
import { TorchFileError } from './torch-file-error.js';
import type { TorchTensor } from './torch-globals.js';
import { elementCount } from '../../params.js';

/** The bytes of a storage that a tensor's elements lie in. */
export interface TorchView {
  readonly begin: number;
  readonly end: number;
  /** Whether these are the elements, one after the other in row-major order. */
  readonly contiguous: boolean;
}

// A view may show an element many times (`expand`). One that shows more than its storage holds must still fit in
// memory.
const MAX_REPEATED = 2 ** 26;

/** @throws TorchFileError if a tensor reaches beyond its storage */
export function viewOf(
  name: string,
  { storage, dtype, offset, shape, strides }: TorchTensor,
  { size }: StorageBytes,
): TorchView {
  const itemSize = DTYPE_BITS.get(dtype)! / 8;
  const held = Math.floor(size / itemSize);
  const count = elementCount(shape);
  const what = `tensor '${name}' of shape [${shape.join(', ')}]`;
  if (count === 0) return { begin: 0, end: 0, contiguous: true };
  const last = shape.reduce((index, n, i) => index + (n - 1) * strides[i]!, offset);
  if (last >= held)
    throw new TorchFileError(
      `${what} got elements up to ${last} of storage '${storage.key}', expected them below ${held}.`,
    );
  if (count > Math.max(held, MAX_REPEATED))
    throw new TorchFileError(
      `${what} got ${count} elements that repeat the ${held} of storage '${storage.key}', expected at most ${MAX_REPEATED}.`,
      'Save what it repeats.',
    );
  return { begin: offset * itemSize, end: (last + 1) * itemSize, contiguous: isContiguous(shape, strides) };
}

function isContiguous(shape: readonly number[], strides: readonly number[]): boolean {
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return false;
    expected *= shape[i]!;
  }
  return true;
}

/** The elements of a view in row-major order, as bytes. `bytes` begin with the view's first element. */
export function gather(bytes: Uint8Array, { dtype, shape, strides }: TorchTensor): Uint8Array {
  const itemSize = DTYPE_BITS.get(dtype)! / 8;
  const count = elementCount(shape);
  // Elements are moved by their bits, those of 8 bytes as two words.
  const Word = itemSize === 1 ? Uint8Array : itemSize === 2 ? Uint16Array : Uint32Array;
  const words = itemSize / Word.BYTES_PER_ELEMENT;
  const { buffer, byteOffset, byteLength } = bytes.byteOffset % Word.BYTES_PER_ELEMENT === 0 ? bytes : bytes.slice();
  const from = new Word(buffer as ArrayBuffer, byteOffset, byteLength / Word.BYTES_PER_ELEMENT);
  const to = new Word(count * words);
  const index = shape.map(() => 0);
  for (let i = 0, at = 0; i < count; i++) {
    for (let word = 0; word < words; word++) to[i * words + word] = from[at * words + word]!;
    // The next index, as an odometer counts.
    for (let d = shape.length - 1; d >= 0; d--) {
      at += strides[d]!;
      if (++index[d]! < shape[d]!) break;
      at -= strides[d]! * shape[d]!;
      index[d] = 0;
    }
  }
  return new Uint8Array(to.buffer);
}
