import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TorchStorage, TorchTensor } from './torch-tensor.js';
import { gather, viewOf } from './torch-view.js';

/** Lists the position of every element in the storage. */
function positions({ offset, shape, strides }: TorchTensor): number[] {
  return shape.reduce<number[]>(
    (starts, n, d) => starts.flatMap((start) => Array.from({ length: n }, (_, i) => start + i * strides[d]!)),
    [offset],
  );
}

const types: Record<string, any> = { U8: Uint8Array, F16: Uint16Array, F32: Uint32Array, I64: BigUint64Array };

const tensors = fc
  .record({
    dtype: fc.constantFrom('U8', 'F16', 'F32', 'I64'),
    offset: fc.nat(5),
    dimensions: fc.array(fc.tuple(fc.nat(4), fc.nat(7)), { maxLength: 4 }),
  })
  .map(
    ({ dtype, offset, dimensions }) =>
      new TorchTensor(
        new TorchStorage('0', dtype, 150),
        dtype,
        offset,
        dimensions.map(([n]) => n),
        dimensions.map(([, stride]) => stride),
      ),
  );

const sizeOf = (dtype: string) => types[dtype].BYTES_PER_ELEMENT;
const bytesOf = (size: number) => ({ size, read: () => Promise.reject(new Error('not read')) });

describe('viewOf and gather', () => {
  it('gather the elements of offset, shape and strides in row-major order', () =>
    fc.assert(
      fc.property(tensors, fc.nat(3), (tensor, misalignment) => {
        const Type = types[tensor.dtype];
        const storage = Type.from(
          Array.from({ length: 150 }, (_, i) => (Type === BigUint64Array ? 0x7ff4000000000001n + BigInt(i) : i)),
        );
        const { begin, end, contiguous } = viewOf('x', tensor, bytesOf(storage.byteLength));
        const viewed = new Uint8Array(end - begin + misalignment).subarray(misalignment);
        viewed.set(new Uint8Array(storage.buffer, begin, end - begin));
        const gathered = gather(viewed, tensor);
        const expected = Type.from(positions(tensor).map((at) => storage[at]!));
        expect(new Type(gathered.buffer)).toEqual(expected);
        if (contiguous) expect(viewed).toEqual(gathered);
      }),
    ));

  it('recognise contiguous tensors whatever the strides of dimensions of size 1', () => {
    const contiguous = (shape: number[], strides: number[]) =>
      viewOf('x', new TorchTensor(new TorchStorage('0', 'F32', 150), 'F32', 0, shape, strides), bytesOf(600))
        .contiguous;
    expect([contiguous([2, 1, 3], [3, 40, 1]), contiguous([1], [9]), contiguous([], [])]).toEqual([true, true, true]);
    expect([contiguous([2, 3], [1, 2]), contiguous([2, 3], [4, 1]), contiguous([2], [0])]).toEqual([
      false,
      false,
      false,
    ]);
  });

  it('refuse a tensor if and only if an element is beyond the storage', () =>
    fc.assert(
      fc.property(tensors, fc.nat(60), (tensor, capacity) => {
        const fits = positions(tensor).every((at) => at < capacity);
        const view = () => viewOf('x', tensor, bytesOf(capacity * sizeOf(tensor.dtype)));
        if (fits) view();
        else expect(view).toThrow(/expected them below/);
      }),
    ));
});
