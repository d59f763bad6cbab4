import { elementCount, type StoredTensor } from '@alignprop/autograd-ext';
import type { DoraAxis } from '../dora.js';
import type { WeightChange } from '../weight-change.js';
import { lengthsOf } from '../weight-lengths.js';
import type { AdapterParts } from './adapter-part.js';

/** DoRA's m and its axis. */
export interface Magnitude {
  readonly vector: StoredTensor;
  readonly axis: DoraAxis;
}

/**
 * Reads DoRA's m: peft's `lora_magnitude_vector` has a length for each output; LyCORIS' `dora_scale` too, `[out, 1]`,
 * or for each input, `[1, in]` (`wd_on_out` false).
 */
export function readMagnitude({ lora_magnitude_vector: m, dora_scale: scale }: AdapterParts): Magnitude | undefined {
  if (m && scale) throw new Error("has two of DoRA's magnitudes (lora_magnitude_vector and dora_scale), expected one");
  if (m) return { vector: m, axis: 'output' };
  if (!scale) return undefined;
  const [first, ...others] = scale.shape;
  return { vector: scale, axis: first === 1 && elementCount(others) > 1 ? 'input' : 'output' };
}

/**
 * Returns a change after which the rows or columns of the changed weight V get the lengths m: W' = m·V/|V| (DoRA,
 * equation 5). The strength s interpolates the weights, W + s·(W' - W), as in ComfyUI.
 */
export function withMagnitude(change: WeightChange, magnitude: Magnitude | undefined): WeightChange {
  if (!magnitude) return change;
  const { vector, axis } = magnitude;
  const size = elementCount(vector.shape);
  return {
    misfit: (shape) => {
      const length = shape[axis === 'output' ? 0 : 1];
      return (
        change.misfit(shape) ??
        (size === length ? undefined : `DoRA's magnitude [${vector.shape}] got, expected ${length} numbers`)
      );
    },
    apply: async (weight, shape, strength) => {
      const adapted = weight.slice();
      await change.apply(adapted, shape, 1);
      const values = await vector.read();
      const { lengths, indexOf } = lengthsOf(adapted, shape, axis);
      for (let i = 0; i < weight.length; i++) {
        const at = indexOf(i);
        weight[i]! += strength * ((adapted[i]! * values[at]!) / lengths[at]! - weight[i]!);
      }
    },
  };
}
