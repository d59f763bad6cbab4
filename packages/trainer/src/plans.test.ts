import { random } from '@alignprop/autograd-ext';
import { describe, expect, it } from 'vitest';
import { fixed, gaussian, uniform } from './cuts.js';
import { attachProbabilities, drawPlan, emptyProbability, perStep, perTrajectory, type Plan } from './plans.js';

const plans: [string, Plan, number][] = [
  ["TRL's default at 50 steps", perStep(uniform(0, 51)), 50],
  ["TRL's default at 8 steps, half of the draws empty", perStep(uniform(0, 51)), 8],
  ["the paper's code, per step in [35, 45]", perStep(uniform(35, 46)), 50],
  ['fixed, the last 2 of 6', perTrajectory('fixed', fixed(4)), 6],
  ['fixed, all', perTrajectory('fixed', fixed(0)), 6],
  ["the authors' uniform", perTrajectory('uniform', uniform(0, 50), 1), 50],
  ["the authors' uniform with draws beyond the end", perTrajectory('uniform', uniform(0, 50), 1), 30],
  ["the authors' gaussian", perTrajectory('gaussian', gaussian(42, 5), 1), 50],
  ['a gaussian around zero', perTrajectory('gaussian', gaussian(0.5, 2)), 6],
];

describe.each(plans)('%s', (_, plan, steps) => {
  it('attaches each step as often as attachProbabilities says', () => {
    const generator = random(7);
    const draws = 4000;
    const counts = new Array<number>(steps).fill(0);
    for (let n = 0; n < draws; n++) drawPlan(plan, steps, generator).forEach(({ attached }, i) => (counts[i]! += Number(attached)));
    const expected = attachProbabilities(plan, steps);
    counts.forEach((count, i) => {
      const deviation = Math.sqrt((expected[i]! * (1 - expected[i]!)) / draws);
      expect(Math.abs(count / draws - expected[i]!), `step ${i}`).toBeLessThanOrEqual(4.5 * deviation + 1e-6);
    });
  });
});

describe('drawPlan', () => {
  it("has TRL's probabilities (i + 1) / 51, but for the empty draws", () => {
    const plan = perStep(uniform(0, 51));
    const probabilities = attachProbabilities(plan, 50);
    probabilities.forEach((p, i) => expect(p).toBeCloseTo((i + 1) / 51, 12));
    expect(probabilities.reduce((a, b) => a + b)).toBeCloseTo(25, 10);
  });

  it("has the mean truncation of the authors' gaussian, 9.09 steps", () => {
    const kept = attachProbabilities(perTrajectory('gaussian', gaussian(42, 5), 1), 50);
    expect(kept.reduce((a, b) => a + b)).toBeCloseTo(9.0887, 3);
  });

  it('never gives a plan that attaches nothing, and refuses one that cannot attach', () => {
    const generator = random(1);
    for (let n = 0; n < 200; n++) expect(drawPlan(perStep(uniform(0, 51)), 4, generator).some(({ attached }) => attached)).toBe(true);
    const none = perTrajectory('fixed', fixed(49));
    expect(emptyProbability(none, 49)).toBe(1);
    expect(attachProbabilities(none, 49)).toEqual(new Array(49).fill(0));
    expect(() => drawPlan(none, 49, generator)).toThrow(/attaches none of 49 steps/);
  });

  it('draws per step with holes, per trajectory without', () => {
    const generator = random(3);
    const hasHole = (plan: Plan) => drawPlan(plan, 20, generator).map(({ attached }) => Number(attached)).join('').includes('10');
    expect(Array.from({ length: 50 }, () => hasHole(perStep(uniform(0, 20)))).some(Boolean)).toBe(true);
    expect(Array.from({ length: 50 }, () => hasHole(perTrajectory('uniform', uniform(0, 20)))).some(Boolean)).toBe(false);
  });

  it('is a function of the generator', () => {
    const plan = perStep(uniform(0, 51));
    expect(drawPlan(plan, 50, random(5))).toEqual(drawPlan(plan, 50, random(5)));
  });
});
