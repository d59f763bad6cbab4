import { afterEach, expect, it, vi } from 'vitest';
import { PhaseTimes } from './phase-times.js';

afterEach(() => void vi.restoreAllMocks());

it('adds the durations of each phase, those of failures included', async () => {
  let now = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => now);
  const times = new PhaseTimes();
  const work = (milliseconds: number) => async () => {
    now += milliseconds;
    return Promise.resolve(milliseconds);
  };
  expect(await times.during('sampling', work(1500))).toBe(1500);
  await times.during('sampling', work(500));
  const failure = times.during('saving', async () => {
    now += 250;
    return Promise.reject(new Error('no space'));
  });
  await expect(failure).rejects.toThrow('no space');
  expect(times.seconds).toEqual({ sampling: 2, gradient: 0, evaluation: 0, saving: 0.25 });
});
