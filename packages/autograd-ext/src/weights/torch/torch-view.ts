import { elementCount } from '../../params.js';
import { byteSize } from '../dtypes/dtype.js';
import type { StorageBytes } from './torch-archive.js';
import { TorchFileError } from './torch-file-error.js';
import type { TorchTensor } from './torch-tensor.js';

/** The range of a storage, in bytes, that contains all elements of a tensor. */
export interface TorchView {
  readonly begin: number;
  readonly end: number;
  /** Whether the range is exactly the elements, in row-major order. */
  readonly contiguous: boolean;
}

// A view may repeat elements (`expand`). A view of more elements than its storage has must still fit in memory.
const MAX_REPEATED = 2 ** 26;

/** Returns the range of a storage that a tensor views. @throws TorchFileError if the tensor reaches beyond it */
export function viewOf(
  name: string,
  { storage, dtype, offset, shape, strides }: TorchTensor,
  { size }: StorageBytes,
): TorchView {
  const itemSize = byteSize(dtype, 1);
  const capacity = Math.floor(size / itemSize);
  const count = elementCount(shape);
  const subject = `tensor '${name}' of shape [${shape.join(', ')}]`;
  if (count === 0) return { begin: 0, end: 0, contiguous: true };
  const last = shape.reduce((index, n, i) => index + (n - 1) * strides[i]!, offset);
  if (last >= capacity)
    throw new TorchFileError(
      `${subject} got elements up to ${last} of storage '${storage.key}', expected them below ${capacity}.`,
    );
  if (count > Math.max(capacity, MAX_REPEATED))
    throw new TorchFileError(
      `${subject} got ${count} elements that repeat the ${capacity} of storage '${storage.key}', ` +
        `expected at most ${MAX_REPEATED}.`,
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

/** Copies the elements of a view to row-major order. `bytes` is the range that `viewOf` returns. */
export function gather(bytes: Uint8Array, { dtype, shape, strides }: TorchTensor): Uint8Array {
  const itemSize = byteSize(dtype, 1);
  const count = elementCount(shape);
  // Copies bits, not numbers: elements of 8 bytes are two words.
  const Word = itemSize === 1 ? Uint8Array : itemSize === 2 ? Uint16Array : Uint32Array;
  const words = itemSize / Word.BYTES_PER_ELEMENT;
  const { buffer, byteOffset, byteLength } =
    bytes.byteOffset % Word.BYTES_PER_ELEMENT === 0 ? bytes : Uint8Array.from(bytes);
  const from = new Word(buffer as ArrayBuffer, byteOffset, byteLength / Word.BYTES_PER_ELEMENT);
  const to = new Word(count * words);
  const index = shape.map(() => 0);
  for (let i = 0, at = 0; i < count; i++) {
    for (let word = 0; word < words; word++) to[i * words + word] = from[at * words + word]!;
    // Increments the index like an odometer.
    for (let d = shape.length - 1; d >= 0; d--) {
      at += strides[d]!;
      if (++index[d]! < shape[d]!) break;
      at -= strides[d]! * shape[d]!;
      index[d] = 0;
    }
  }
  return new Uint8Array(to.buffer);
}
