import { elementCount, type StoredTensor } from '@alignprop/autograd-ext';
import type { MergedAdapter } from '../lora-state.js';
import type { WeightChange } from '../weight-change.js';
import { misfit, type AdapterKind } from './adapter-kind.js';

/** Differences of whole weights and biases, of norms too (LyCORIS' "full", ComfyUI's extracted adapters). */
export const fullDifference: AdapterKind = {
  name: 'full difference',
  marks: ['diff', 'diff_b'],
  others: ['alpha'], // meaningless here, but written by some programs
  read: ({ diff, diff_b: bias }): MergedAdapter => ({
    kind: 'merged',
    ...(diff && { weight: difference('diff', diff, 1) }),
    ...(bias && { bias: difference('diff_b', bias, 1) }),
  }),
};

/** Returns the addition of scale·tensor. The shapes may differ by sizes of 1, as those of 1×1 kernels do. */
export function difference(name: string, tensor: StoredTensor, scale: number): WeightChange {
  return {
    misfit: (shape) => (isSameShape(tensor.shape, shape) ? undefined : misfit(name, tensor.shape, shape)),
    apply: async (weight, _, strength) => {
      const values = await tensor.read();
      for (let i = 0; i < weight.length; i++) weight[i]! += strength * scale * values[i]!;
    },
  };
}

const isSameShape = (a: readonly number[], b: readonly number[]): boolean =>
  elementCount(a) === elementCount(b) && `${a.filter((size) => size !== 1)}` === `${b.filter((size) => size !== 1)}`;
