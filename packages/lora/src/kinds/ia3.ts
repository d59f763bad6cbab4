import { elementCount, type StoredTensor } from '@alignprop/autograd-ext';
import type { MergedAdapter } from '../lora-state.js';
import type { DoraAxis } from '../dora.js';
import type { WeightChange } from '../weight-change.js';
import type { AdapterKind } from './adapter-kind.js';

/**
 * (IA)³ of peft (Liu et al. 2022): `ia3_l` multiplies the outputs, `[out, 1]` (also their bias), or the inputs of
 * feedforward modules, `[1, in]`. Convolutions have `[1, n, 1, 1]` for both, so that the configuration decides.
 */
export const ia3: AdapterKind = {
  name: '(IA)³',
  marks: ['ia3_l'],
  others: [],
  read: ({ ia3_l: l }, { isFeedforward }): MergedAdapter => {
    const axis = axisOf(l!.shape, isFeedforward);
    const rescale = (name: string) => multiplication({ name, factors: l!, axis, offset: 0 });
    return {
      kind: 'merged',
      weight: rescale('ia3_l'),
      ...(axis === 'output' && { biasIfAny: rescale('ia3_l') }),
    };
  },
};

function axisOf(shape: readonly number[], isFeedforward: boolean | undefined): DoraAxis {
  if (shape.length === 2 && shape[0] !== shape[1]) return shape[0] === 1 ? 'input' : 'output';
  if (isFeedforward === undefined)
    throw new Error('has an ia3_l that needs the feedforward_modules of peft, expected its adapter_config.json beside');
  return isFeedforward ? 'input' : 'output';
}

/** (IA)³ of LyCORIS: `weight` w means the factor 1 + w, of the inputs where `on_input` is 1 and of the outputs else. */
export const ia3Lycoris: AdapterKind = {
  name: '(IA)³ of LyCORIS',
  marks: ['weight', 'on_input'],
  others: ['alpha'],
  read: async ({ weight, on_input: onInput }): Promise<MergedAdapter> => {
    if (!weight || !onInput) throw new Error(`lacks ${weight ? 'on_input' : 'weight'}`);
    const [isOnInput] = await onInput.read();
    const axis = isOnInput ? 'input' : 'output';
    return { kind: 'merged', weight: multiplication({ name: '(IA)³', factors: weight, axis, offset: 1 }) };
  },
};

interface Multiplication {
  readonly name: string;
  readonly factors: StoredTensor;
  readonly axis: DoraAxis;
  /** Added to the stored values. */
  readonly offset: number;
}

/** Returns the multiplication of rows or columns by offset + factors; a strength s gives 1 + s·(factor - 1). */
function multiplication({ name, factors, axis, offset }: Multiplication): WeightChange {
  const count = elementCount(factors.shape);
  const lengthOf = (shape: readonly number[]) => shape[axis === 'output' ? 0 : 1];
  return {
    misfit: (shape) =>
      count === lengthOf(shape) ? undefined : `${name} [${factors.shape}] got, expected ${lengthOf(shape)} numbers`,
    apply: async (weight, shape, strength) => {
      const values = await factors.read();
      const [out, inputs = 1] = shape as [number, number?];
      const kernel = weight.length / (out * inputs);
      for (let i = 0; i < weight.length; i++) {
        const at = axis === 'output' ? Math.floor(i / (inputs * kernel)) : Math.floor(i / kernel) % inputs;
        weight[i]! *= 1 + strength * (offset + values[at]! - 1);
      }
    },
  };
}
