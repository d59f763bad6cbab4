import { elementCount, readValues, type StoredTensor } from '@alignprop/autograd-ext';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { DoraAxis } from './dora.js';
import type { LoraLayer } from './lora-layer.js';
import type { WeightChange } from './weight-change.js';
import { lengthsOf } from './weight-lengths.js';

/** The values of a low-rank adapter. */
interface LowRankValues {
  readonly r: number;
  readonly a: Float32Array; // [r, in·kh·kw]
  readonly b: Float32Array; // [out, r]
  readonly scale: number;
  readonly dora?: { readonly magnitude: Float32Array; readonly axis: DoraAxis };
}

/** Copies the values of a layer: the change of its weight W to W + scale·B·A, with DoRA to m·V/|V|. */
export async function lowRankChange({ loraA, loraB, r, scale, dora }: LoraLayer): Promise<WeightChange> {
  const [a, b, magnitude] = await Promise.all(
    [loraA, loraB, dora?.magnitude].map(async (part) => part && copyOf(part)),
  );
  const values = { r, a: a!, b: b!, scale, ...(dora && { dora: { axis: dora.axis, magnitude: magnitude! } }) };
  return {
    misfit: () => undefined,
    apply: (weight, shape, strength) => Promise.resolve(addLowRank(weight, shape, values, strength)),
  };
}

const copyOf = async (tensor: Tensor | StoredTensor): Promise<Float32Array> =>
  Float32Array.from(await readValues(tensor));

function addLowRank(weight: Float32Array, shape: readonly number[], values: LowRankValues, strength: number): void {
  const { r, a, b, dora } = values;
  const out = shape[0]!;
  const width = elementCount(shape) / out; // in·kh·kw
  const scale = strength * values.scale;
  const adapted = dora ? new Float64Array(weight.length) : undefined;
  const delta = new Float64Array(width);
  for (let o = 0; o < out; o++) {
    delta.fill(0);
    for (let k = 0; k < r; k++) {
      const factor = scale * b[o * r + k]!;
      for (let i = 0; i < width; i++) delta[i]! += factor * a[k * width + i]!;
    }
    for (let i = o * width, j = 0; j < width; i++, j++)
      if (adapted) adapted[i] = weight[i]! + delta[j]!;
      else weight[i]! += delta[j]!;
  }
  if (adapted && dora) weight.set(rescaled(adapted, shape, dora));
}

/** Returns m·V/|V|. */
function rescaled(
  adapted: Float64Array,
  shape: readonly number[],
  { magnitude, axis }: { readonly magnitude: Float32Array; readonly axis: DoraAxis },
): Float64Array {
  const { lengths, indexOf } = lengthsOf(adapted, shape, axis);
  return adapted.map((value, i) => (value * magnitude[indexOf(i)]!) / lengths[indexOf(i)]!);
}

/** Returns the lengths of a weight's rows over all but the output axis, `[out]`: DoRA's m of a new adapter. */
export const rowLengths = async (weight: Tensor | StoredTensor): Promise<Float32Array> =>
  Float32Array.from(lengthsOf(await readValues(weight), weight.shape, 'output').lengths);
