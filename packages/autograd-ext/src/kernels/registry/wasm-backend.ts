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
