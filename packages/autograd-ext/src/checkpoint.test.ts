import {
  add,
  matMul,
  memory,
  mul,
  randomNormal,
  sin,
  tanh,
  tidy,
  variable,
  type Tensor,
  type Tensor2D,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../fixtures/engines.js';
import { useBackend } from './backend.js';
import { checkpoint } from './checkpoint.js';
import type { Params } from './params.js';
import { expectNoLeaks } from './testing/index.js';
import { vjp, type ModelFunction } from './vjp.js';

type Layer = { readonly weight: Tensor };
const layer: ModelFunction = (params, x) => tanh(matMul(x as Tensor2D, (params as Layer).weight as Tensor2D)) as Tensor;
const twoLayers: ModelFunction = (params, x) => {
  const [first, second] = params as readonly Params[];
  return add(layer(second!, layer(first!, x!) as Tensor) as Tensor, x!);
};
const chained =
  (wrap: (fn: ModelFunction) => ModelFunction): ModelFunction =>
  (params, x, y) => {
    const [first, second] = params as readonly Params[];
    return mul(wrap(layer)(second!, wrap(layer)(first!, x!) as Tensor) as Tensor, sin(y!));
  };
const plain = (fn: ModelFunction): ModelFunction => fn;
const checkpointed =
  (fn: ModelFunction): ModelFunction =>
  (params, ...xs) =>
    checkpoint(fn, params, ...xs);

const random = (seed: number) => randomNormal([3, 3], 0, 1, 'float32', seed);
const values = (x: Tensor) => [...x.dataSync()];

describe.each(testBackends)('checkpoint on %s', (backend) => {
  let params: Params;
  beforeAll(async () => {
    await useBackend(backend);
    params = [{ weight: variable(random(1)) }, { weight: variable(random(2)) }];
  });

  it.each<[string, ModelFunction, ModelFunction]>([
    ['one checkpoint', twoLayers, checkpointed(twoLayers)],
    ['a checkpoint inside a checkpoint', twoLayers, checkpointed(checkpointed(twoLayers))],
    ['two checkpoints in a row', chained(plain), chained(checkpointed)],
    ['two checkpoints inside a checkpoint', chained(plain), checkpointed(chained(checkpointed))],
  ])('gives %s the gradients of the plain function', async (_, fn, wrapped) => {
    const inputs = [random(3), random(4)];
    await expectNoLeaks(() => {
      const [expected, actual] = [vjp(fn, params, inputs), vjp(wrapped, params, inputs)];
      expect(Object.keys(actual.params)).toEqual(['0.weight', '1.weight']);
      expect(values(actual.value)).toEqual(values(expected.value));
      [...actual.inputs, ...Object.values(actual.params)].forEach((grad, i) => {
        const reference = [...expected.inputs, ...Object.values(expected.params)][i]!;
        expect(values(grad)).toEqual(values(reference));
      });
      return [expected, actual];
    });
    inputs.forEach((x) => x.dispose());
  });

  it('saves no intermediate results for backward', () => {
    const x = random(5);
    const tensorsAfterForward = (fn: ModelFunction) => {
      let count = 0;
      const measured: ModelFunction = (p, ...xs) => {
        const y = fn(p, ...xs) as Tensor;
        count = memory().numTensors;
        return y;
      };
      tidy(() => void vjp(measured, params, [x]));
      return count;
    };
    const deep: ModelFunction = (p, y) => {
      let state = y!;
      for (let i = 0; i < 10; i++) state = twoLayers(p, state) as Tensor;
      return state;
    };
    expect(tensorsAfterForward(checkpointed(deep))).toBeLessThan(tensorsAfterForward(deep) - 30);
    x.dispose();
  });
});
