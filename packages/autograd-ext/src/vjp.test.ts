import {
  add,
  matMul,
  memory,
  mul,
  scalar,
  square,
  sum,
  tensor1d,
  tensor2d,
  tidy,
  variable,
  type Tensor,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../fixtures/engines.js';
import { useBackend } from './backend.js';
import { gradients, vjp } from './vjp.js';

const values = (x: Tensor) => [...x.dataSync()];

describe.each(testBackends)('vjp on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('returns the value and the gradients of inputs and trainable leaves', () => {
    const w = variable(tensor2d([[1, 2], [3, 4]])); // prettier-ignore
    const frozen = tensor2d([[5, 6]]);
    const { value, inputs, params } = vjp(
      (p, x) => add(matMul(x!, (p as { w: Tensor }).w), (p as { frozen: Tensor }).frozen),
      { w, frozen },
      [tensor2d([[1, 10]])],
      tensor2d([[1, -1]]),
    );
    expect(values(value)).toEqual([36, 48]);
    expect(values(inputs[0]!)).toEqual([-1, -1]);
    expect(Object.keys(params)).toEqual(['w']);
    expect(values(params.w!)).toEqual([1, -1, 10, -10]);
  });

  it('differentiates only the inputs in wrt', () => {
    const { inputs } = vjp((_, x, y) => mul(x!, y!), {}, [scalar(2), scalar(3)], undefined, [1]);
    expect(inputs.map(values)).toEqual([[2]]);
  });

  it('gives each argument its own gradient when one tensor is passed twice', () => {
    const x = scalar(3);
    expect(vjp((_, a, b) => mul(a!, square(b!)), {}, [x, x]).inputs.map(values)).toEqual([[9], [18]]);
  });

  it('returns zeros where the output does not depend on a tensor', () => {
    const unused = variable(tensor1d([1, 2]));
    const { params, inputs } = vjp((_, x) => square(x!), { unused }, [scalar(1), scalar(1)]);
    expect(values(params.unused!)).toEqual([0, 0]);
    expect(values(inputs[1]!)).toEqual([0]);
  });

  it('returns further outputs as aux', () => {
    const { value, aux } = vjp((_, x) => [sum(x!), mul(x!, 2)], {}, [tensor1d([1, 2])]);
    expect(values(value)).toEqual([3]);
    expect(aux.map(values)).toEqual([[2, 4]]);
  });

  it('works inside another gradient without losing the outer tape', () => {
    const x = scalar(2);
    const { grads } = gradients(() => {
      const inner = vjp((_, y) => square(y!), {}, [scalar(5)]).inputs[0]!; // a constant 10 to the outer gradient
      return mul(square(x), inner);
    }, [x]);
    expect(values(grads[0]!)).toEqual([40]);
  });

  it('allocates no tensors besides its result', () => {
    const [w, x] = [variable(tensor1d([1, 2, 3])), tensor1d([1, 2, 3])];
    const before = memory().numTensors;
    const result = vjp((p, y) => [mul((p as { w: Tensor }).w, square(y!)), y!], { w }, [x]);
    expect(memory().numTensors).toBe(before + 4);
    [result.value, ...result.aux, ...result.inputs, result.params.w!].forEach((tensor) => tensor.dispose());
    expect(memory().numTensors).toBe(before);
    expect(tidy(() => memory().numTensors)).toBe(before);
  });
});
