import { expect, it, vi } from 'vitest';
import { timed } from './timed.js';

it.each([
  [900, []],
  [3210, ['3.2 s']],
])('tells of work of %i ms: %j', async (duration, told) => {
  let now = 0;
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => now);
  const heard: string[] = [];
  const work = () => {
    now += duration;
    return Promise.resolve('done');
  };
  expect(await timed((text) => heard.push(text), work)).toBe('done');
  expect(heard).toEqual(told);
  clock.mockRestore();
});
