import { isStoredTensor, type StoredTensor, readValues } from '../../../params.js';
import type { Tensor } from '@tensorflow/tfjs-core';
import { toFloat16 } from '../../../weights/dtypes/float16.js';
import type { WeightLocation } from '../graph/encode.js';
import type { Dtype } from '../graph/graph.js';

/** A weight as a graph wants it. */
export interface Placed {
  readonly leaf: object;
  readonly dtype: Dtype;
}

/**
 * Where an engine's frozen weights lie: in place where a file has them in the type that is wanted, else in a temporary
 * file.
 */
export class WeightFiles {
  readonly #located = new Map<object, Map<Dtype, WeightLocation>>();
  #spill: Promise<SpillFile> | undefined;

  /** Makes sure that all the weights lie in files. */
  async place(weights: Iterable<Placed>): Promise<void> {
    for (const { leaf, dtype } of weights) {
      const known = this.#located.get(leaf) ?? new Map<Dtype, WeightLocation>();
      this.#located.set(leaf, known);
      if (!known.has(dtype)) known.set(dtype, await this.#find(leaf as Tensor | StoredTensor, dtype));
    }
  }

  /** Where a weight lies, below the root folder of the file system. */
  locate = (leaf: object, dtype: Dtype): WeightLocation => this.#located.get(leaf)!.get(dtype)!;

  async dispose(): Promise<void> {
    this.#located.clear();
    const spill = this.#spill;
    this.#spill = undefined;
    await (await spill)?.remove();
  }

  async #find(leaf: Tensor | StoredTensor, dtype: Dtype): Promise<WeightLocation> {
    if (isStoredTensor(leaf) && leaf.location && stored[leaf.dtype] === dtype)
      return { ...leaf.location, file: await fromRoot(leaf.location.file) };
    const values = await readValues(leaf);
    this.#spill ??= openSpill();
    return (await this.#spill).append(dtype === 'float16' ? toFloat16(values as Float32Array) : values);
  }
}

/** What files call the types that are used as they lie. */
const stored: Readonly<Record<string, Dtype>> = {
  F32: 'float32',
  float32: 'float32',
  F16: 'float16',
  I32: 'int32',
  int32: 'int32',
};

/** ONNX Runtime takes paths relative to a folder, which here is the root, and follows no links. */
async function fromRoot(file: string): Promise<string> {
  const [{ realpath }, { parse, relative }] = await Promise.all([import('node:fs/promises'), import('node:path')]);
  const real = await realpath(file);
  return relative(parse(real).root, real);
}

interface SpillFile {
  append(values: Float32Array | Int32Array | Uint16Array): Promise<WeightLocation>;
  remove(): Promise<void>;
}

async function openSpill(): Promise<SpillFile> {
  const [{ mkdtemp, open, rm, realpath }, { tmpdir }, { join }] = await Promise.all([
    import('node:fs/promises'),
    import('node:os'),
    import('node:path'),
  ]);
  const { rmSync } = await import('node:fs');
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'alignprop-weights-')));
  const path = join(folder, 'weights');
  const file = await fromRoot((await (await open(path, 'w')).close(), path));
  let end = 0;
  const removeNow = () => rmSync(folder, { recursive: true, force: true });
  process.once('exit', removeNow);
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
    async remove() {
      process.off('exit', removeNow);
      await rm(folder, { recursive: true, force: true });
    },
  };
}
