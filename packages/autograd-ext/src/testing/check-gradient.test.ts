import { mul, randomNormal, scalar, square, zerosLike, type Tensor } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../backend.js';
import { defineOp } from '../define-op.js';
import { checkGradient, expectNoLeaks } from './index.js';

const wrongSquare = defineOp<object>({
  name: 'TestWrongSquare',
  forward: ({ x }) => square(x!),
  inputsToSave: ['x'],
  gradient: (dy, [x]) => ({ x: () => mul(dy, mul(x!, 2.02)) }),
});

const zeroGradient = defineOp<object>({
  name: 'TestCut',
  forward: ({ x }) => square(x!),
  gradient: (dy) => ({ x: () => zerosLike(dy) }),
});

describe.each(['wasm', 'cpu'] as const)('test helpers on %s', (backend) => {
  let x: Tensor;
  beforeAll(async () => {
    await useBackend(backend);
    x = randomNormal([3, 4], 0, 1, 'float32', 1);
  });

  it('checkGradient accepts a correct gradient', () => checkGradient((y) => square(y), [x]));

  it('checkGradient names the input and entry of a gradient that is 1 % off', () => {
    expect(() => checkGradient((y, z) => mul(y, wrongSquare({ x: z! }, {})), [scalar(3), x])).toThrow(
      /checkGradient: input 1 \[3,4\], entry \d+ got .*, expected/,
    );
  });

  it('checkGradient reports a gradient that is wrongly zero', () => {
    expect(() => checkGradient((y) => zeroGradient({ x: y! }, {}), [x])).toThrow(/input 0/);
  });

  it('expectNoLeaks reports leaked tensors and wrongly disposed ones', async () => {
    await expect(expectNoLeaks(() => void square(x))).rejects.toThrow(
      /expectNoLeaks: number of tensors got \d+, expected \d+/,
    );
    const extra = scalar(1);
    await expect(expectNoLeaks(() => extra.dispose())).rejects.toThrow(/disposed tensors that it did not make/);
    await expectNoLeaks(() => square(x)); // disposes the result
  });
});
