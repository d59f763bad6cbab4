import { table } from '@alignprop/autograd-ext/outside';
import type { WeightChange } from '../weight-change.js';
import { leadingTriplets } from './leading-triplets.js';

/** The rank of an adapter and its scale, α/r. */
interface Adapter {
  readonly r: number;
  readonly scale: number;
}

/**
 * Returns what peft subtracted from a weight when it initialised an adapter from it, so that the model with the new
 * adapter was the model without it. Undefined where the initialization leaves the weight as it is.
 * @param initialization the field `init_lora_weights`
 */
export function initialChange(initialization: unknown, adapter: Adapter): WeightChange | undefined {
  const name = typeof initialization === 'string' ? initialization.toLowerCase() : '';
  return initialChanges[name]?.(adapter);
}

const initialChanges = table<(adapter: Adapter) => WeightChange>({
  olora: ({ r, scale }) =>
    subtraction('olora', (weight, out, inputs) => subtractColumns(weight, out, inputs, r, scale)),
  pissa: ({ r }) => subtraction('pissa', (weight, out, inputs) => subtractLargest(weight, out, inputs, r)),
});

/** Returns a change of matrices. Its strength does not matter: the adapter belongs to the changed weight. */
const subtraction = (
  name: string,
  subtract: (weight: Float32Array, out: number, inputs: number) => void,
): WeightChange => ({
  misfit: (shape) => (shape.length === 2 ? undefined : `${name} got a weight [${shape}], expected a matrix`),
  apply: (weight, shape) => Promise.resolve(subtract(weight, shape[0]!, shape[1]!)),
});

/**
 * OLoRA (Büyükakyüz 2024): W - scale·Q_r·R_r, where Q_r·R_r is the projection of W on the span of its first r columns.
 */
function subtractColumns(weight: Float32Array, out: number, inputs: number, r: number, scale: number): void {
  const basis = firstColumns(weight, out, inputs, Math.min(r, inputs, out));
  const along = new Float64Array(inputs);
  const change = new Float64Array(weight.length);
  for (const q of basis) {
    along.fill(0); // R's row: qᵀ·W
    for (let o = 0; o < out; o++) for (let i = 0; i < inputs; i++) along[i]! += q[o]! * weight[o * inputs + i]!;
    for (let o = 0; o < out; o++) for (let i = 0; i < inputs; i++) change[o * inputs + i]! += q[o]! * along[i]!;
  }
  for (let i = 0; i < weight.length; i++) weight[i]! -= scale * change[i]!;
}

/** PiSSA (Meng et al. 2024, equation 4): W without its r largest singular values, whatever the scale. */
function subtractLargest(weight: Float32Array, out: number, inputs: number, r: number): void {
  const change = new Float64Array(weight.length);
  for (const { value, left, right } of leadingTriplets(weight, { out, inputs, count: r }))
    for (let o = 0, at = 0; o < out; o++)
      for (let i = 0; i < inputs; i++, at++) change[at]! += value * left[o]! * right[i]!;
  for (let i = 0; i < weight.length; i++) weight[i]! -= change[i]!;
}

/** Returns an orthonormal basis of the span of the first columns (Gram-Schmidt, twice for accuracy). */
function firstColumns(weight: Float32Array, out: number, inputs: number, count: number): Float64Array[] {
  const basis: Float64Array[] = [];
  for (let column = 0; column < count; column++) {
    const vector = Float64Array.from({ length: out }, (_, o) => weight[o * inputs + column]!);
    const before = length(vector);
    for (let pass = 0; pass < 2; pass++)
      for (const q of basis) {
        const part = dot(q, vector);
        for (let o = 0; o < out; o++) vector[o]! -= part * q[o]!;
      }
    const after = length(vector);
    if (after > 1e-10 * before) basis.push(vector.map((value) => value / after));
  }
  return basis;
}

const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
const length = (vector: Float64Array): number => Math.sqrt(dot(vector, vector));
