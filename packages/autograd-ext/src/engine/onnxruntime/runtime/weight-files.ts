import { isStoredTensor, type StoredTensor, readValues } from '../../../params.js';
import type { Tensor } from '@tensorflow/tfjs-core';
import { toFloat16 } from '../../../weights/dtypes/float16.js';
import type { WeightLocation } from '../graph/encode.js';
import { storedTypes, type Dtype } from '../graph/graph.js';
import type { WeightRequest, WeightStore } from './runtime.js';
import { createTemporaryFolder } from './temporary-folder.js';

/**
 * The files from which sessions map the frozen weights of an engine. A weight that a file already holds in the
 * requested format is mapped in place; others are written to a temporary file.
 */
export class WeightFiles implements WeightStore {
  readonly #locations = new Map<object, Map<Dtype, WeightLocation>>();
  #spill: Promise<SpillFile> | undefined;

  async place(weights: Iterable<WeightRequest>): Promise<void> {
    for (const { leaf, dtype } of weights) {
      const locations = this.#locations.get(leaf) ?? new Map<Dtype, WeightLocation>();
      this.#locations.set(leaf, locations);
      if (!locations.has(dtype)) locations.set(dtype, await this.#find(leaf as Tensor | StoredTensor, dtype));
    }
  }

  /** The location of a weight that has been placed. Its path is relative to the root of the file system. */
  locate = (leaf: object, dtype: Dtype): WeightLocation => this.#locations.get(leaf)!.get(dtype)!;

  /** Forgets all locations and deletes the temporary file. */
  async dispose(): Promise<void> {
    this.#locations.clear();
    const spill = this.#spill;
    this.#spill = undefined;
    await (await spill)?.remove();
  }

  /** Finds the weight in its own file or writes it to the temporary one. */
  async #find(leaf: Tensor | StoredTensor, dtype: Dtype): Promise<WeightLocation> {
    if (isStoredTensor(leaf) && leaf.location && storedTypes[leaf.dtype] === dtype) {
      await leaf.check?.();
      return { ...leaf.location, file: await fromRoot(leaf.location.file) };
    }
    const values = await readValues(leaf);
    this.#spill ??= openSpill();
    return (await this.#spill).append(dtype === 'float16' ? toFloat16(values as Float32Array) : values);
  }
}

/**
 * Resolves links and makes a path relative to the root: ONNX Runtime takes paths relative to a folder, for which the
 * root is chosen here, and follows no links.
 */
async function fromRoot(file: string): Promise<string> {
  const [{ realpath }, { parse, relative }] = await Promise.all([import('node:fs/promises'), import('node:path')]);
  const real = await realpath(file);
  return relative(parse(real).root, real);
}

/** A temporary file for weights. */
interface SpillFile {
  append(values: Float32Array | Int32Array | Uint16Array): Promise<WeightLocation>;
  remove(): Promise<void>;
}

async function openSpill(): Promise<SpillFile> {
  const [{ open }, { join }] = await Promise.all([import('node:fs/promises'), import('node:path')]);
  const folder = await createTemporaryFolder();
  const path = join(folder.path, 'weights');
  const file = await fromRoot((await (await open(path, 'w')).close(), path));
  let end = 0;
  return {
    async append(values) {
      const handle = await open(path, 'r+');
      try {
        const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
        const offset = end;
        await handle.write(bytes, 0, bytes.length, offset);
        end = offset + Math.ceil(bytes.length / 64) * 64;
        return { file, offset, length: bytes.length };
      } finally {
        await handle.close();
      }
    },
    remove: () => folder.remove(),
  };
}
