import { isStoredTensor, readValues, type StoredTensor } from '../../../params.js';
import type { Tensor } from '@tensorflow/tfjs-core';
import { toFloat16 } from '../../../weights/dtypes/float16.js';
import type { WeightLocation } from '../graph/encode.js';
import type { Dtype } from '../graph/graph.js';
import type { WeightRequest, WeightStore } from './runtime.js';

/** Frozen weights in memory, where there are no files to map: one named block for each weight and format. */
export class WeightMemory implements WeightStore {
  readonly contents = new Map<string, Uint8Array>();
  readonly #locations = new Map<object, Map<Dtype, WeightLocation>>();

  async place(weights: Iterable<WeightRequest>): Promise<void> {
    for (const { leaf, dtype } of weights) {
      const locations = this.#locations.get(leaf) ?? new Map<Dtype, WeightLocation>();
      this.#locations.set(leaf, locations);
      if (!locations.has(dtype)) locations.set(dtype, this.#add(await bytesOf(leaf as Tensor | StoredTensor, dtype)));
    }
  }

  locate = (leaf: object, dtype: Dtype): WeightLocation => this.#locations.get(leaf)!.get(dtype)!;

  dispose(): Promise<void> {
    this.#locations.clear();
    this.contents.clear();
    return Promise.resolve();
  }

  #add(bytes: Uint8Array): WeightLocation {
    const file = `weight-${this.contents.size}`;
    this.contents.set(file, bytes);
    return { file, offset: 0, length: bytes.length };
  }
}

async function bytesOf(leaf: Tensor | StoredTensor, dtype: Dtype): Promise<Uint8Array> {
  if (isStoredTensor(leaf)) await leaf.check?.();
  const values = await readValues(leaf);
  const { buffer, byteOffset, byteLength } = dtype === 'float16' ? toFloat16(values as Float32Array) : values;
  return new Uint8Array(buffer, byteOffset, byteLength);
}
