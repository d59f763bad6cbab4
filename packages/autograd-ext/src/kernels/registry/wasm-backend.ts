import type { DataType, KernelBackend, TensorInfo } from '@tensorflow/tfjs-core';
import type { WasmMemory } from '../simd/instance.js';

/** The parts of tfjs's wasm backend that kernels use; tfjs does not export its type. */
export type WasmBackend = KernelBackend & {
  readonly wasm: {
    readonly asm: { readonly memory?: WasmMemory };
    /** Returns the address of uninitialised memory. May move the memory's buffer. */
    _malloc(bytes: number): number;
    _free(address: number): void;
  };
  readonly dataIdMap: { get(dataId: object): { readonly memoryOffset: number; dtype: DataType } };
  makeOutput(shape: readonly number[], dtype: DataType): TensorInfo;
  /** A view of the tensor's values, valid until the next allocation. */
  typedArrayFromHeap(tensor: TensorInfo): Float32Array | Int32Array;
};

/**
 * Allocates memory for a kernel, to be freed with `_free`.
 * @returns its address, which `_malloc` returns as a negative number from 2 GiB on
 * @throws if tfjs's memory is full
 */
export function allocate({ wasm }: WasmBackend, bytes: number): number {
  const address = wasm._malloc(bytes) >>> 0;
  if (address === 0)
    throw new Error(`wasm: got no memory for ${bytes} bytes. Dispose of tensors, or use less of them.`);
  return address;
}
