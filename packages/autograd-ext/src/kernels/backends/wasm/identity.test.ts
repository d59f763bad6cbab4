import { clone, randomNormal, tidy, variable, type Tensor4D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useBackend } from '../../../backend.js';
import { freeze, unfreeze } from '../../../frozen.js';
import { conv2d } from '../../../ops/conv2d.js';
import { expectNoLeaks } from '../../../testing/index.js';
import { vjp } from '../../../vjp.js';

describe.each(['wasm', 'cpu'] as const)('clones on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('share memory, and outlive the original', () => {
    const x = randomNormal([3]);
    const values = [...x.dataSync()];
    const y = clone(x);
    expect(y.dataId).toBe(x.dataId);
    x.dispose();
    expect([...y.dataSync()]).toEqual(values);
    y.dispose();
  });

  it('are not changed by assigning to the variable they were made of', () => {
    const x = variable(randomNormal([3]));
    const values = [...x.dataSync()];
    const y = clone(x);
    tidy(() => x.assign(randomNormal([3])));
    expect([...y.dataSync()]).toEqual(values);
    x.dispose();
    y.dispose();
  });

  it('let gradients use the layouts kept for a frozen weight', async () => {
    const weight = freeze(randomNormal([2, 3, 3, 3]));
    const x = randomNormal([1, 4, 4, 3]);
    const run = () => tidy(() => void vjp((_, y) => conv2d(y as Tensor4D, weight, undefined, { padding: 1 }), {}, [x]));
    run();
    await expectNoLeaks(run); // a layout computed now would be kept
    unfreeze(weight);
    x.dispose();
    weight.dispose();
  });
});
