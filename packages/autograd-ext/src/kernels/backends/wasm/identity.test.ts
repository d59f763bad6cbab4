import { clone, randomNormal, tidy, variable, type Tensor4D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../../../../fixtures/engines.js';
import { useBackend } from '../../../backend.js';
import { freeze, unfreeze } from '../../../frozen.js';
import { conv2d } from '../../../ops/conv2d.js';
import { expectNoLeaks } from '../../../testing/index.js';
import { vjp } from '../../../vjp.js';

describe.each(testBackends)('clones on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('share memory with the original and outlive it', () => {
    const x = randomNormal([3]);
    const values = [...x.dataSync()];
    const y = clone(x);
    expect(y.dataId).toBe(x.dataId);
    x.dispose();
    expect([...y.dataSync()]).toEqual(values);
    y.dispose();
  });

  it('keep their values when their variable is assigned', () => {
    const x = variable(randomNormal([3]));
    const values = [...x.dataSync()];
    const y = clone(x);
    tidy(() => x.assign(randomNormal([3])));
    expect([...y.dataSync()]).toEqual(values);
    x.dispose();
    y.dispose();
  });

  it('let gradients reuse the packed layouts of a frozen weight', async () => {
    const weight = freeze(randomNormal([2, 3, 3, 3]));
    const x = randomNormal([1, 4, 4, 3]);
    const run = () => tidy(() => void vjp((_, y) => conv2d(y as Tensor4D, weight, undefined, { padding: 1 }), {}, [x]));
    run();
    await expectNoLeaks(run); // a layout computed only now would be cached, and count as a leak
    unfreeze(weight);
    x.dispose();
    weight.dispose();
  });
});
