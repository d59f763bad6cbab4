import { mul, randomNormal, scalar, square, zerosLike, type Tensor } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../backend.js';
import { defineOp } from '../define-op.js';
import { checkGradient, expectNoLeaks } from './index.js';

const wrong = defineOp<object>({
  name: 'TestWrongSquare',
  forward: ({ x }) => square(x!),
  inputsToSave: ['x'],
  gradient: (dy, [x]) => ({ x: () => mul(dy, mul(x!, 2.02)) }),
});

const cut = defineOp<object>({
  name: 'TestCut',
  forward: ({ x }) => square(x!),
  gradient: (dy) => ({ x: () => zerosLike(dy) }),
});

describe.each(['wasm', 'cpu'] as const)('checks on %s', (backend) => {
  let x: Tensor;
  beforeAll(async () => {
    await useBackend(backend);
    x = randomNormal([3, 4], 0, 1, 'float32', 1);
  });

  it('pass a right gradient', () => checkGradient((y) => square(y), [x]));

  it('name the input and entry of a gradient that is 1 % off', () => {
    expect(() => checkGradient((y, z) => mul(y, wrong({ x: z! }, {})), [scalar(3), x])).toThrow(
      /checkGradient: input 1 \[3,4\], entry \d+ got .*, expected/,
    );
  });

  it('report a gradient that does not arrive', () => {
    expect(() => checkGradient((y) => cut({ x: y! }, {}), [x])).toThrow(/input 0/);
  });

  it('count the tensors left behind and those wrongly disposed', async () => {
    await expect(expectNoLeaks(() => void square(x))).rejects.toThrow(
      /expectNoLeaks: number of tensors got \d+, expected \d+/,
    );
    const extra = scalar(1);
    await expect(expectNoLeaks(() => extra.dispose())).rejects.toThrow(/disposed tensors that it did not make/);
    await expectNoLeaks(() => square(x)); // what it returns is disposed
  });
});
