import { byteSize } from '../dtypes/dtype.js';

/** A range of numbers in the file that one or more tensors view. */
export class TorchStorage {
  constructor(
    readonly key: string,
    /** Undefined for untyped bytes, which a tensor views as its own dtype. */
    readonly dtype: string | undefined,
    /** In elements; in bytes if there is no dtype. */
    readonly length: number,
  ) {}
}

/** A view of a storage, not yet checked against it (see `viewOf`). Offset and strides are in elements. */
export class TorchTensor {
  constructor(
    readonly storage: TorchStorage,
    readonly dtype: string,
    readonly offset: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
  ) {}
}

/** Returns the size of a storage in bytes. */
export const storageSize = ({ dtype, length }: TorchStorage): number => byteSize(dtype ?? 'U8', length);
