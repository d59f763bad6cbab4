import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { ones } from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { useBackend } from '../../../backend.js';
import { silu } from '../../../ops/silu.js';
import { OnnxRuntimeEngine } from '../engine.js';
import { threadCount } from './thread-count.js';

const threads = () => readdirSync('/proc/self/task').length;

describe.runIf(process.platform === 'linux')('threadCount', () => {
  beforeAll(() => useBackend('wasm'));
  afterEach(() => vi.unstubAllEnvs());

  it('is what OMP_NUM_THREADS says', async () => {
    vi.stubEnv('OMP_NUM_THREADS', '3');
    expect(await threadCount()).toBe(3);
  });

  it.each(['', '0', 'many', undefined])('is the number of cores with OMP_NUM_THREADS %o', async (value) => {
    vi.stubEnv('OMP_NUM_THREADS', value);
    const count = (await threadCount())!;
    expect(count).toBeGreaterThanOrEqual(Math.min(2, availableParallelism() / 2));
    expect(count).toBeLessThanOrEqual(availableParallelism());
  });

  it.each([
    { given: 4, started: 3 },
    { given: undefined, started: 4 },
  ])('is the number of threads of a session that is given $given', async ({ given, started }) => {
    vi.stubEnv('OMP_NUM_THREADS', '5');
    const engine = new OnnxRuntimeEngine({ threads: given });
    const run = engine.compile((_, x) => silu(x!));
    await run({}, ones([2, 2]));
    const before = threads();
    const [more] = await Promise.all([run({}, ones([3, 3])), run({}, ones([4, 4]))]);
    expect(more).toHaveLength(1);
    expect(threads() - before).toBe(2 * started);
    engine.dispose();
  });
});
