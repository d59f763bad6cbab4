import type { StoredTensor } from '@alignprop/autograd-ext';

/** A part of a stored tensor: rows of its first axis, at their place in the file. */
export function rowsOf(tensor: StoredTensor, first: number, count: number): StoredTensor {
  const [rows, ...rest] = tensor.shape as [number, ...number[]];
  const size = rest.reduce((product, length) => product * length, 1);
  const { location, scan } = tensor;
  const rowBytes = location && location.length / rows;
  return {
    shape: [count, ...rest],
    dtype: tensor.dtype,
    ...(location && {
      location: { ...location, offset: location.offset + first * rowBytes!, length: count * rowBytes! },
    }),
    ...(scan && rowBytes && { scan: (visit) => scanRange(scan, first * rowBytes, (first + count) * rowBytes, visit) }),
    read: async () => (await tensor.read()).slice(first * size, (first + count) * size),
  };
}

/** The transpose of a stored matrix, which is made when it is read. */
export function transposed(tensor: StoredTensor): StoredTensor {
  const [rows, columns] = tensor.shape as [number, number];
  return {
    shape: [columns, rows],
    dtype: tensor.dtype,
    read: async () => {
      const values = await tensor.read();
      return values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!);
    },
  };
}

/** Visits the bytes from `start` to `end` of a scan of the whole. */
async function scanRange(
  scan: NonNullable<StoredTensor['scan']>,
  start: number,
  end: number,
  visit: (piece: Uint8Array) => void,
): Promise<void> {
  let at = 0;
  await scan((piece) => {
    const [from, to] = [Math.max(start - at, 0), Math.min(end - at, piece.length)];
    if (from < to) visit(piece.subarray(from, to));
    at += piece.length;
  });
}
