import { isStoredTensor, type StoredTensor } from '../../params.js';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { WeightLocation } from './encode.js';

/** Where an engine's frozen weights lie: in place where a file has them as float32 or int32, else in a temporary file. */
export class WeightFiles {
  readonly #located = new Map<object, WeightLocation>();
  #spill: Promise<SpillFile> | undefined;

  /** Makes sure that all the leaves lie in files. */
  async place(leaves: Iterable<object>): Promise<void> {
    for (const leaf of leaves) if (!this.#located.has(leaf)) this.#located.set(leaf, await this.#find(leaf as Tensor | StoredTensor));
  }

  /** Where a leaf lies, below the root folder of the file system. */
  locate = (leaf: object): WeightLocation => this.#located.get(leaf)!;

  async dispose(): Promise<void> {
    this.#located.clear();
    const spill = this.#spill;
    this.#spill = undefined;
    await (await spill)?.remove();
  }

  async #find(leaf: Tensor | StoredTensor): Promise<WeightLocation> {
    if (isStoredTensor(leaf) && leaf.location && inPlace.has(leaf.dtype)) return { ...leaf.location, file: await fromRoot(leaf.location.file) };
    const values = isStoredTensor(leaf) ? await leaf.read() : await leaf.data();
    this.#spill ??= openSpill();
    return (await this.#spill).append(values as Float32Array | Int32Array);
  }
}

const inPlace = new Set(['F32', 'float32', 'I32', 'int32']);

/** ONNX Runtime takes paths relative to a folder, which here is the root, and follows no links. */
async function fromRoot(file: string): Promise<string> {
  const [{ realpath }, { parse, relative }] = await Promise.all([import('node:fs/promises'), import('node:path')]);
  const real = await realpath(file);
  return relative(parse(real).root, real);
}

interface SpillFile {
  append(values: Float32Array | Int32Array): Promise<WeightLocation>;
  remove(): Promise<void>;
}

async function openSpill(): Promise<SpillFile> {
  const [{ mkdtemp, open, rm, realpath }, { tmpdir }, { join }] = await Promise.all([import('node:fs/promises'), import('node:os'), import('node:path')]);
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
