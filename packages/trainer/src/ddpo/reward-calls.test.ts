import type { Tensor4D } from '@tensorflow/tfjs-core';
import { RewardScorer } from '@alignprop/rewards/interface';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { RewardCalls, RewardError } from './reward-calls.js';

const images = { shape: [2, 8, 8, 3] } as Tensor4D;
const context = { step: 4, epoch: 2 };
let warnings: string[];

/** Calls a reward that fails the first times. @returns the scores, the seconds that passed, and the calls */
async function call({ failures, retries }: { failures: number; retries: number }, signal?: AbortSignal) {
  let calls = 0;
  const reward = async () => {
    if (++calls <= failures) throw new Error(`ETIMEDOUT ${calls}`);
    return [1, 2];
  };
  const logger = { info: () => {}, warn: (text: string) => void warnings.push(text) };
  const started = Date.now();
  const scored = new RewardCalls({ scorer: new RewardScorer(reward), retries, logger })
    .score(images, ['a', 'b'], [{}, {}], context, signal)
    .then(
      ({ scores }) => scores,
      (error: unknown) => error as Error,
    );
  await vi.runAllTimersAsync();
  return { result: await scored, seconds: (Date.now() - started) / 1000, calls };
}

beforeEach(() => {
  warnings = [];
  vi.useFakeTimers();
});
afterEach(() => void vi.useRealTimers());

describe('RewardCalls', () => {
  it('repeat a reward that throws after 1, 2, 4 … seconds, with a warning each time', async () => {
    expect(await call({ failures: 3, retries: 3 })).toEqual({ result: [1, 2], seconds: 7, calls: 4 });
    expect(warnings).toEqual([
      'rewardFunction: ETIMEDOUT 1 The reward is called again in 1 s (1 of 3 times).',
      'rewardFunction: ETIMEDOUT 2 The reward is called again in 2 s (2 of 3 times).',
      'rewardFunction: ETIMEDOUT 3 The reward is called again in 4 s (3 of 3 times).',
    ]);
    expect((await call({ failures: 9, retries: 9 })).seconds).toBe(1 + 2 + 4 + 8 + 16 + 32 + 60 + 60 + 60);
  });

  it('throw the last error, which says how many calls there were', async () => {
    const { result, calls } = await call({ failures: 9, retries: 2 });
    expect(result).toBeInstanceOf(RewardError);
    expect(result).toMatchObject({ message: 'rewardFunction: ETIMEDOUT 3 (3 calls)' });
    expect(calls).toBe(3);
    expect(await call({ failures: 1, retries: 0 })).toMatchObject({
      result: { message: 'rewardFunction: ETIMEDOUT 1' },
      seconds: 0,
    });
  });

  it('end with the reason of a signal that is aborted during a pause', async () => {
    const stop = new AbortController();
    setTimeout(() => stop.abort(new Error('stop')), 1500); // during the second pause
    const { result, calls } = await call({ failures: 9, retries: 9 }, stop.signal);
    expect([result, calls]).toEqual([new Error('stop'), 2]);
  });
});
