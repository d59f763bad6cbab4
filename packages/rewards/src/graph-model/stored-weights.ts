import { excerptList } from '@alignprop/autograd-ext/outside';
import { type StoredTensor, elementCount } from '@alignprop/autograd-ext';
import { widen, type FileSource } from '@alignprop/autograd-ext/weights';

/** Weights in the order in which the concatenated shards contain them. */
export interface WeightGroup {
  readonly paths: readonly string[];
  readonly weights: readonly WeightSpec[];
}

/** One weight of a manifest. */
export interface WeightSpec {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: string;
  /** Stored integers mean `integer · scale + min`; the dtype `float16` has no scale. */
  readonly quantization?: { readonly dtype: string; readonly scale?: number; readonly min?: number };
}

// tfjs's names of stored dtypes: the name in safetensors, and the bytes of an element.
const dtypes = new Map(
  Object.entries({
    float32: ['F32', 4],
    int32: ['I32', 4],
    bool: ['BOOL', 1],
    uint8: ['U8', 1],
    uint16: ['U16', 2],
    float16: ['F16', 2],
  } as const),
);

interface Shard {
  readonly path: string;
  /** The offset of its first byte in the concatenated shards. */
  readonly begin: number;
  readonly size: number;
  /** The path of the local file, if there is one. */
  readonly file?: string;
}

/**
 * Returns the weights of a manifest without reading them.
 * @throws if a shard is missing, a dtype is unknown, or the size of the shards does not match the manifest
 */
export async function storedWeights(
  location: string,
  source: FileSource,
  groups: readonly WeightGroup[],
): Promise<Map<string, StoredTensor>> {
  const tensors = new Map<string, StoredTensor>();
  const unknown = groups.flatMap(({ weights }) => weights).filter((spec) => !dtypes.has(storedDtype(spec)));
  if (unknown.length)
    throw new Error(
      `graphModel: weights of '${location}' got ` +
        excerptList(unknown.map((spec) => `'${spec.name}' of ${storedDtype(spec)}`)) +
        `, expected ${[...dtypes.keys()].join(', ')}.`,
    );
  for (const { paths, weights } of groups) {
    const shards = await measure(source, paths);
    const size = shards.reduce((sum, shard) => sum + shard.size, 0);
    let begin = 0;
    for (const spec of weights) {
      const length = elementCount(spec.shape) * dtypes.get(storedDtype(spec))![1];
      tensors.set(spec.name, storedWeight(source, shards, spec, begin, length));
      begin += length;
    }
    if (begin !== size)
      throw new Error(
        `graphModel: ${excerptList(paths)} beside '${location}' got ${size} bytes, expected ${begin}. ` +
          'Download the model again.',
      );
  }
  return tensors;
}

const storedDtype = ({ dtype, quantization }: WeightSpec) => quantization?.dtype ?? dtype;

/** Opens each shard for its size. */
async function measure(source: FileSource, paths: readonly string[]): Promise<Shard[]> {
  const shards: Shard[] = [];
  let begin = 0;
  for (const path of paths) {
    const file = await source.open(path);
    shards.push({ path, begin, size: file.size, file: file.path });
    begin += file.size;
    await file.close();
  }
  return shards;
}

function storedWeight(
  source: FileSource,
  shards: readonly Shard[],
  spec: WeightSpec,
  begin: number,
  length: number,
): StoredTensor {
  const isPlain = spec.quantization === undefined || spec.quantization.dtype === 'float16';
  const shard = shards.find((one) => begin >= one.begin && begin + length <= one.begin + one.size);
  return {
    shape: spec.shape,
    dtype: dtypes.get(isPlain ? storedDtype(spec) : spec.dtype)![0],
    ...(isPlain && shard?.file && { location: { file: shard.file, offset: begin - shard.begin, length } }),
    read: async () =>
      dequantized(spec, widen(dtypes.get(storedDtype(spec))![0], await readBytes(source, shards, begin, length))),
  };
}

/** Converts stored values to the dtype of the weight. */
function dequantized(
  { dtype, quantization }: WeightSpec,
  stored: Float32Array | Int32Array,
): Float32Array | Int32Array {
  if (!quantization || quantization.dtype === 'float16') return stored;
  const { scale = 1, min = 0 } = quantization;
  if (dtype === 'float32') return Float32Array.from(stored, (value) => value * scale + min);
  return Int32Array.from(stored, (value) => Math.round(value * scale + min));
}

/** Reads a range of the concatenated shards. */
async function readBytes(
  source: FileSource,
  shards: readonly Shard[],
  begin: number,
  length: number,
): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (const shard of shards) {
    const [first, end] = [Math.max(begin, shard.begin), Math.min(begin + length, shard.begin + shard.size)];
    if (first >= end) continue;
    const file = await source.open(shard.path);
    try {
      bytes.set(await file.read(first - shard.begin, end - first), first - begin);
    } finally {
      await file.close();
    }
  }
  return bytes;
}
