import { describe, expect, it } from 'vitest';
import cases from '../__fixtures__/learning-rate.json' with { type: 'json' };
import { learningRate, learningRateSchedules, type LearningRateSchedule } from './learning-rate.js';

describe("learningRate, against diffusers' get_scheduler", () => {
  it.each(cases)('$schedule, $warmupSteps of $totalSteps steps', ({ rates, schedule, ...options }) => {
    const rateOf = learningRate({ ...options, schedule: schedule as LearningRateSchedule });
    rates.forEach((rate, step) => expect(rateOf(step), `step ${step}`).toBeCloseTo(rate, 15));
  });

  it('covers every schedule of the list', () => {
    expect([...new Set(cases.map(({ schedule }) => schedule))].sort()).toEqual([...learningRateSchedules].sort());
  });
});
