import { random, useBackend } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { beforeAll, describe, expect, it } from 'vitest';
import { alignPropConfigSchema } from '../config/config.js';
import { chainOf } from './__fixtures__/chains.js';
import { adaptedPipeline, expectNestedGradient, sampling } from './__fixtures__/nested-graph.js';
import { backpropPlan, checkBackpropPlan, maxEmptyProbability } from './config-plan.js';
import { estimatorParameters, type BackpropOptions, type Estimator } from './estimator.js';
import { estimators, type EstimatorName } from './estimators.js';
import { attachProbabilities, drawPlan, emptyProbability, trains } from './plans.js';

let pipeline: StableDiffusionPipeline;
beforeAll(async () => {
  await useBackend('wasm');
  pipeline = await adaptedPipeline();
});

/** Options that attach steps of a chain of any length. */
const optionsFor = (estimator: EstimatorName, steps: number): BackpropOptions => ({
  ...alignPropConfigSchema.parse({}),
  sample_num_steps: steps,
  estimator,
  truncated_backprop_timestep: steps - 1,
  truncated_rand_backprop_minmax: [0, steps],
  backprop_kwargs: { gaussian: { mean: 0.84 * steps, std: 0.1 * steps }, uniform: { min: 0, max: steps } },
});

/** Options whose cuts lie beyond the chain. */
const emptyOptions = (estimator: EstimatorName): BackpropOptions => ({
  ...optionsFor(estimator, 6),
  truncated_backprop_timestep: 60,
  truncated_rand_backprop_minmax: [6, 6],
  backprop_kwargs: { gaussian: { mean: 60, std: 1 }, uniform: { min: 45, max: 60 } },
});

/** The contract of every estimator. */
function testEstimator(name: EstimatorName, estimator: Estimator): void {
  it('has a plan of its name', () => expect(backpropPlan(optionsFor(name, 6)).name).toBe(name));

  it.each([3, 7, 50])('draws plans that fit a chain of %d steps and attach a step', (steps) => {
    const options = optionsFor(name, steps);
    expect(checkBackpropPlan(options)).toEqual([]);
    const plan = backpropPlan(options);
    expect(emptyProbability(plan, steps)).toBeLessThanOrEqual(maxEmptyProbability);
    const generator = random(steps);
    for (let draw = 0; draw < 50; draw++) {
      const drawn = drawPlan(plan, chainOf(steps), generator);
      expect(drawn.steps.some(trains)).toBe(true);
      expect(drawn.steps.length).toBeLessThanOrEqual(steps);
      if (drawn.shown === 'x_0') expect(drawn.steps).toHaveLength(steps);
    }
  });

  it('attaches each step as often as attachProbabilities says', () => {
    const [plan, steps, draws, generator] = [backpropPlan(optionsFor(name, 6)), 6, 4000, random(7)];
    const counts = new Array<number>(steps).fill(0);
    for (let draw = 0; draw < draws; draw++)
      drawPlan(plan, chainOf(steps), generator).steps.forEach((step, i) => (counts[i]! += Number(trains(step))));
    attachProbabilities(plan, chainOf(steps)).forEach((probability, i) => {
      const deviation = Math.sqrt((probability * (1 - probability)) / draws);
      expect(Math.abs(counts[i]! / draws - probability), `step ${i}`).toBeLessThanOrEqual(4.5 * deviation + 1e-6);
    });
  });

  it.each(estimatorParameters)('reads %s, or refuses it', (parameter) => {
    const problems = checkBackpropPlan({
      ...optionsFor(name, 6),
      [parameter]: parameter === 'estimator_images' ? 'dataset' : 2,
    });
    if (estimator.parameters.includes(parameter)) expect(problems).toEqual([]);
    else
      expect(problems).toMatchObject([
        { key: parameter, message: expect.stringMatching(/does not read\. Leave it out\.$/) as string },
      ]);
  });

  it.each(['estimator_steps', 'estimator_last'] as const)('refuses %s beyond the chain', (parameter) => {
    if (!estimator.parameters.includes(parameter)) return;
    const problems = checkBackpropPlan({ ...optionsFor(name, 6), [parameter]: 7 });
    expect(problems).toEqual([{ key: parameter, message: 'got 7, expected at most sample_num_steps, 6.' }]);
  });

  it('never attaches nothing, or refuses options that do, with advice', () => {
    const options = emptyOptions(name);
    const problems = checkBackpropPlan(options);
    if (!estimator.emptyPlan) {
      expect(problems).toEqual([]);
      expect(emptyProbability(backpropPlan(options), 6)).toBe(0);
    } else {
      expect(problems).toHaveLength(1);
      expect(problems[0]!.key).toBe(estimator.emptyPlan.cause(options).key);
      expect(problems[0]!.message).toMatch(/reaches no step of 100\.0 % of the trajectories\. Try /);
      expect(() => drawPlan(backpropPlan(options), chainOf(6), random(0))).toThrow(/attaches none of 6 steps/);
    }
  });

  it('has the gradient of one graph with its detached parts', async () => {
    const steps = sampling.numInferenceSteps;
    const drawn = drawPlan(backpropPlan(optionsFor(name, steps)), chainOf(steps), random(11));
    await expectNestedGradient(pipeline, drawn, sampling.eta);
  });
}

describe.each(Object.entries(estimators) as [EstimatorName, Estimator][])('estimator %s', (name, estimator) =>
  testEstimator(name, estimator),
);
