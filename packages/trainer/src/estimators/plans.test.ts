import { random } from '@alignprop/autograd-ext';
import { DDIMScheduler, type SchedulerConfig } from '@alignprop/diffusion';
import { describe, expect, it } from 'vitest';
import { AttachmentPlan } from './attachment-plan.js';
import { CutPerStep, CutPerTrajectory, EquallySpacedSteps } from './attachments.js';
import { fixed, gaussian, uniform } from './cuts.js';
import { chainOf } from './__fixtures__/chains.js';
import { attachProbabilities, drawPlan, emptyProbability, trains, type Plan } from './plans.js';
import { draftLV, full, lastK } from './draft.js';
import { drTune } from './drtune.js';
import { perStep } from './per-step.js';
import { perTrajectory } from './per-trajectory.js';
import { FlowBPBridge } from './flowbp-bridge.js';
import { LeapAlign } from './leapalign.js';
import { plannedChain } from './planned-chain.js';
import { refl } from './refl.js';
import { straightPath } from './straight-path.js';

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
  ['DRaFT', full(), 6],
  ['DRaFT-3', lastK(3), 6],
  ['DRaFT-9 of 6', lastK(9), 6],
  ['DRaFT-LV', draftLV(2), 6],
  ['ReFL', refl(10), 40],
  ['ReFL with a wider range than the chain', refl(10), 4],
  ['DRTune', drTune(3, 8), 20],
  ['DRTune on more steps than there are', drTune(5, 2), 4],
  [
    'one random step with a detached input, on the whole chain',
    new AttachmentPlan({ name: 'custom', attached: new EquallySpacedSteps(1), detachInput: true }),
    7,
  ],
  [
    "TRL's draws, and a chain that ends early",
    new AttachmentPlan({ name: 'custom', attached: new CutPerStep(uniform(2, 7)), within: 4, showPredicted: true }),
    6,
  ],
  [
    "the authors' draws, and a chain that ends early",
    new AttachmentPlan({ name: 'custom', attached: new CutPerTrajectory(uniform(0, 6), 1), within: 4 }),
    6,
  ],
];

describe.each(plans)('%s', (_, plan, steps) => {
  it('attaches each step as often as attachProbabilities says', () => {
    const generator = random(7);
    const draws = 4000;
    const counts = new Array<number>(steps).fill(0);
    for (let n = 0; n < draws; n++)
      drawPlan(plan, chainOf(steps), generator).steps.forEach((step, i) => (counts[i]! += Number(trains(step))));
    const expected = attachProbabilities(plan, chainOf(steps));
    counts.forEach((count, i) => {
      const deviation = Math.sqrt((expected[i]! * (1 - expected[i]!)) / draws);
      expect(Math.abs(count / draws - expected[i]!), `step ${i}`).toBeLessThanOrEqual(4.5 * deviation + 1e-6);
    });
  });
});

describe('drawPlan', () => {
  it("has TRL's probabilities (i + 1) / 51, apart from empty draws", () => {
    const plan = perStep(uniform(0, 51));
    const probabilities = attachProbabilities(plan, chainOf(50));
    probabilities.forEach((p, i) => expect(p).toBeCloseTo((i + 1) / 51, 12));
    expect(probabilities.reduce((a, b) => a + b)).toBeCloseTo(25, 10);
  });

  it("has the mean truncation of the authors' gaussian, 9.09 steps", () => {
    const probabilities = attachProbabilities(perTrajectory('gaussian', gaussian(42, 5), 1), chainOf(50));
    expect(probabilities.reduce((a, b) => a + b)).toBeCloseTo(9.0887, 3);
  });

  it('never draws a plan that attaches nothing, and refuses one that cannot attach', () => {
    const generator = random(1);
    for (let n = 0; n < 200; n++)
      expect(drawPlan(perStep(uniform(0, 51)), chainOf(4), generator).steps.some(trains)).toBe(true);
    const none = perTrajectory('fixed', fixed(49));
    expect(emptyProbability(none, 49)).toBe(1);
    expect(attachProbabilities(none, chainOf(49))).toEqual(new Array(49).fill(0));
    expect(() => drawPlan(none, chainOf(49), generator)).toThrow(/attaches none of 49 steps/);
  });

  it('leaves gaps between attached steps per step, but not per trajectory', () => {
    const generator = random(3);
    const hasHole = (plan: Plan) =>
      drawPlan(plan, chainOf(20), generator)
        .steps.map((step) => Number(trains(step)))
        .join('')
        .includes('10');
    expect(Array.from({ length: 50 }, () => hasHole(perStep(uniform(0, 20)))).some(Boolean)).toBe(true);
    expect(Array.from({ length: 50 }, () => hasHole(perTrajectory('uniform', uniform(0, 20)))).some(Boolean)).toBe(
      false,
    );
  });

  it('is deterministic for a generator', () => {
    const plan = perStep(uniform(0, 51));
    expect(drawPlan(plan, chainOf(50), random(5))).toEqual(drawPlan(plan, chainOf(50), random(5)));
  });
});

/** A digit per step, 1 where it is attached. */
const mask = (plan: Plan, steps: number, seed: number) =>
  drawPlan(plan, chainOf(steps), random(seed))
    .steps.map((step) => Number(trains(step)))
    .join('');
/** Counts how often every mask is drawn. */
function masks(plan: Plan, steps: number, draws: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let seed = 0; seed < draws; seed++) {
    const drawn = mask(plan, steps, seed);
    counts.set(drawn, (counts.get(drawn) ?? 0) + 1);
  }
  return counts;
}
/** Expects the masks to be exactly `expected`, equally often. */
function expectUniform(counts: Map<string, number>, expected: readonly string[]): void {
  expect([...counts.keys()].sort()).toEqual([...expected].sort());
  const draws = [...counts.values()].reduce((a, b) => a + b);
  const chiSquared = [...counts.values()].reduce(
    (sum, count) => sum + (count - draws / expected.length) ** 2 / (draws / expected.length),
    0,
  );
  expect(chiSquared).toBeLessThan(expected.length - 1 + 4 * Math.sqrt(2 * expected.length)); // four deviations
}

describe('the estimators', () => {
  it.each([
    [full(), '111111', 0],
    [lastK(1), '000001', 0],
    [lastK(4), '001111', 0],
    [lastK(20), '111111', 0],
    [draftLV(2), '000001', 2],
  ] as const)('always attaches the same of six steps: $name', (plan, expected, renoised) => {
    expect([...masks(plan, 6, 20).keys()]).toEqual([expected]);
    expect(drawPlan(plan, chainOf(6), random(0))).toMatchObject({ shown: 'x_0', renoised });
  });

  it('attaches with ReFL the last step of a chain that ends within its last 10: randint(30, 39) of 40', () => {
    const expected = Array.from({ length: 10 }, (_, i) => `${'0'.repeat(30 + i)}1`);
    expectUniform(masks(refl(10), 40, 2000), expected);
    expect(drawPlan(refl(10), chainOf(40), random(0))).toMatchObject({ shown: 'predicted-x_0', renoised: 0 });
    attachProbabilities(refl(10), chainOf(40)).forEach((p, i) => expect(p).toBeCloseTo(i < 30 ? 0 : 0.1, 12));
  });

  it('attaches with DRTune K equally spaced steps at every offset, of a chain that ends within its last m', () => {
    // 7 or 6 of 7 steps; the stride is 3 for both, so that 4 and 3 offsets fit.
    const seven = ['1001000', '0100100', '0010010', '0001001'];
    const six = ['100100', '010010', '001001'];
    const counts = masks(drTune(2, 2), 7, 3000);
    for (const [length, expected] of [
      [7, seven],
      [6, six],
    ] as const) {
      const ofLength = [...counts].filter(([drawn]) => drawn.length === length);
      expectUniform(new Map(ofLength), expected);
      expect(ofLength.reduce((sum, [, count]) => sum + count, 0) / 3000).toBeCloseTo(0.5, 1);
    }
    const { steps, shown } = drawPlan(drTune(2, 2), chainOf(7), random(0));
    expect(steps.every(({ coupling }) => coupling === 0)).toBe(true);
    expect(shown).toBe('predicted-x_0');
    // By hand: step 0 is attached in 1 of 4 and 1 of 3, step 6 in 1 of 4 of half of the draws.
    const probabilities = attachProbabilities(drTune(2, 2), chainOf(7));
    expect(probabilities[0]).toBeCloseTo((1 / 4 + 1 / 3) / 2, 12);
    expect(probabilities[6]).toBeCloseTo(1 / 8, 12);
    expect(probabilities.reduce((a, b) => a + b)).toBeCloseTo(2, 12);
  });

  it("detaches no input and shows x_0 in TRL's and the authors' plans", () => {
    for (const plan of [perStep(uniform(0, 6)), perTrajectory('uniform', uniform(0, 6), 1)]) {
      const drawn = drawPlan(plan, chainOf(6), random(2));
      expect(drawn).toMatchObject({ shown: 'x_0', renoised: 0 });
      expect(drawn.steps).toHaveLength(6);
      expect(drawn.steps.some((step) => trains(step) && step.coupling !== 1)).toBe(false);
    }
  });

  it('draws nothing from the generator where there is no choice, so that resumed runs draw the same', () => {
    for (const plan of [full(), lastK(2), draftLV(2), refl(1)]) {
      const generator = random(4);
      drawPlan(plan, chainOf(6), generator);
      expect(generator.getState()).toEqual(random(4).getState());
    }
  });
});

describe('the estimators with leaps and anchors', () => {
  it('always train the anchor of the bridge, both sides of it, and K steps', () => {
    const plan = new FlowBPBridge({ count: 5, lateBias: 4, rescale: 0, coupling: 0.5 });
    const generator = random(9);
    for (let draw = 0; draw < 200; draw++) {
      const { steps } = drawPlan(plan, chainOf(12), generator);
      const anchor = steps.findIndex(({ coupling }) => coupling !== 0);
      const trained = steps.flatMap((step, i) => (trains(step) ? [i] : []));
      expect(trained).toHaveLength(5);
      expect(trained).toContain(anchor);
      expect(trained[0]).toBeLessThan(anchor);
      expect(steps[anchor]).toEqual({ weight: 1, coupling: 0.5 });
    }
  });

  it('train two steps with LeapAlign, whose weights make up for the steps between', () => {
    const { steps, distances } = drawPlan(new LeapAlign({ coupling: 0.3, floor: 0.1 }), chainOf(10), random(2));
    const [k, j] = steps.flatMap((step, i) => (trains(step) ? [i] : []));
    const { increments } = straightPath(chainOf(10));
    const length = (from: number, to: number) => increments.slice(from, to).reduce((a, b) => a + b);
    expect(steps[k!]!.weight).toBeCloseTo(length(k!, j!) / increments[k!]!, 10);
    expect(steps[j!]!.weight).toBeCloseTo(length(j!, 10) / increments[j!]!, 10);
    expect(steps[j!]!.coupling).toBeCloseTo(0.3 * steps[j!]!.weight, 10);
    expect(distances!.leaps.map(({ start, end }) => [start, end])).toEqual([
      [k, j],
      [j, 10],
    ]);
  });

  it('are refused for a scheduler that clips, or whose step forgets its input', () => {
    const chain = (config: SchedulerConfig) =>
      plannedChain(new DDIMScheduler(config), { numInferenceSteps: 5, eta: 0 });
    const plan = new LeapAlign({ coupling: 0.3, floor: 0.1 });
    expect(() => drawPlan(plan, chain({ clip_sample: true }), random(0))).toThrow(/clip_sample/);
    const forgetting = { clip_sample: false, prediction_type: 'sample', set_alpha_to_one: true };
    expect(() => drawPlan(plan, chain(forgetting), random(0))).toThrow(
      /step 4 of 5 got the factors 0 of the latents .* Use an estimator without leaps: 'drtune'/,
    );
  });
});
