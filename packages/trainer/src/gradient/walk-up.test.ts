import {
  add,
  concat,
  dispose,
  fill,
  keep,
  matMul,
  mean,
  mul,
  randomNormal,
  relu,
  reshape,
  scalar,
  sqrt,
  square,
  stack,
  sub,
  sum,
  tanh,
  tensor,
  variable,
  zerosLike,
  type Tensor,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { trainable, useBackend, vjp, type ModelFunction, type Params } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { DDIMScheduler, schedulerFor, type Scheduler, type SchedulerConfig, type Step } from '@alignprop/diffusion';
import { beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../../fixtures/engines.js';
import { trainableSchedulers } from '../config/trainable-schedulers.js';
import { walkUp, type Chain, type Trajectory } from './walk-up.js';
import { stopGradient } from '../__fixtures__/stop-gradient.js';
import { withFactors } from '../estimators/__fixtures__/with-factors.js';
import { attachedStep, detachedStep, trains, type Shown, type StepPlan } from '../estimators/plans.js';

/** A small nonlinear model of latents and time, with two trainable matrices. */
const model: ModelFunction = (params, x, t) => {
  const { first, second } = params as { first: Tensor; second: Tensor };
  const [batch, height, width, channels] = (x as Tensor4D).shape;
  const rows = batch * height * width;
  const input = concat([reshape(x!, [rows, channels]), fill([rows, 1], t!.dataSync()[0]! / 1000)], 1);
  return reshape(matMul(tanh(matMul(input as never, first as never)), second as never), x!.shape);
};

/** The model of a latent at a step, scaled as the scheduler asks. */
const modelAt =
  (scheduler: Scheduler, step: Step): ModelFunction =>
  (params, x, t) =>
    model(params, mul(x!, scheduler.inputScale(step)), t!);

const shape: [number, number, number, number] = [2, 3, 2, 4];
const newParams = () => ({
  first: variable(randomNormal([5, 7], 0, 0.7, 'float32', 1)),
  second: variable(randomNormal([7, 4], 0, 0.7, 'float32', 2)),
});

/**
 * The whole chain as one graph, a prediction detached where the plan says so: what a framework with a tape would run.
 */
function nested(
  scheduler: Scheduler,
  eta: number,
  steps: readonly Step[],
  noise: readonly Tensor4D[],
  plan: readonly StepPlan[],
  shown: Shown = 'x_0',
  predictions: [input: Tensor, output: Tensor][] = [],
): ModelFunction {
  return (params, start) => {
    let x = start as Tensor4D;
    for (const [i, step] of steps.entries()) {
      const predict: ModelFunction = (weights, input) =>
        modelAt(scheduler, step)(weights, input!, tensor([step.t])) as Tensor4D;
      const output = withFactors(predict, plan[i]!)(params, x) as Tensor4D;
      predictions.push([plan[i]!.coupling === 0 ? stopGradient(x) : x, output]);
      const next = scheduler.step(output, step, x, { eta, noise: noise[i] });
      if (shown === 'predicted-x_0' && i === plan.length - 1) return next.predOriginalSample;
      x = next.prevSample;
    }
    return x;
  };
}

/** The plan of a digit per step, 1 where it is attached. */
const planOf = (mask: string, inputDetached = false): StepPlan[] =>
  [...mask].map((digit) => (digit === '0' ? detachedStep : inputDetached ? { weight: 1, coupling: 0 } : attachedStep));

const newChain = (scheduler: Scheduler, eta: number, params: Params): Chain => ({
  scheduler,
  eta,
  async predictionVjp(latents, step, dy, inputGradient) {
    const timestep = tensor([step.t]);
    const { value, ...rest } = vjp(modelAt(scheduler, step), params, [latents, timestep], dy, inputGradient ? [0] : []);
    dispose([value, timestep]);
    return rest;
  },
});

function walkDown(
  scheduler: Scheduler,
  eta: number,
  steps: readonly Step[],
  start: Tensor4D,
  noise: readonly Tensor4D[],
  params: Params,
  shown: Shown = 'x_0',
): Trajectory {
  const latents = [start];
  const modelOutputs = steps.map((step, i) => {
    const output = modelAt(scheduler, step)(params, latents[i]!, tensor([step.t])) as Tensor4D;
    const { prevSample, predOriginalSample } = scheduler.step(output, step, latents[i]!, { eta, noise: noise[i] });
    latents.push(shown === 'predicted-x_0' && i === steps.length - 1 ? predOriginalSample : prevSample);
    return output;
  });
  return { steps, shown, latents, modelOutputs };
}

const configs: [string, SchedulerConfig, number][] = [
  ['ddim, epsilon, eta 1', { clip_sample: false, set_alpha_to_one: false, steps_offset: 1 }, 1],
  ['ddim, epsilon, eta 0, clipped x_0', { clip_sample: true, clip_sample_range: 1 }, 0],
  ['ddim, epsilon, eta 0.7, thresholded x_0', { clip_sample: false, thresholding: true, sample_max_value: 2 }, 0.7],
  ['ddim, v-prediction, eta 0.5', { clip_sample: false, prediction_type: 'v_prediction' }, 0.5],
  ['ddim, sample, eta 1, clipped', { clip_sample: true, prediction_type: 'sample' }, 1],
  ['ddpm, epsilon', { clip_sample: false }, 0],
  ['euler, epsilon, trailing', { timestep_spacing: 'trailing' }, 0],
  ['euler, v-prediction, fractional timesteps', { prediction_type: 'v_prediction', timestep_spacing: 'linspace' }, 0],
  ['euler-ancestral, epsilon', { timestep_spacing: 'trailing' }, 0],
  ['lcm, epsilon', {}, 0],
  ['lcm, v-prediction, clipped', { prediction_type: 'v_prediction', clip_sample: true }, 0],
  ['tcd, epsilon, eta 0.3', {}, 0.3],
];
/** ReFL's last step is attached, DRTune's may not be; DRTune detaches the model's input. */
const otherCases = [
  ['010111', true, 'x_0'],
  ['111111', true, 'x_0'],
  ['0001', false, 'predicted-x_0'],
  ['1', false, 'predicted-x_0'],
  ['01010', true, 'predicted-x_0'],
  ['01011', false, 'predicted-x_0'],
] as const;
const fewMasks = new Set(['010011 false', '111111 true', '0001 false']);
const masks = ['111111', '000001', '000011', '010011', '100000', '101010', '100001'];

describe.each(testBackends)('walkUp on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it('is tested with every scheduler that can be trained through', () => {
    const tested = new Set(configs.map(([name]) => name.split(',')[0]));
    expect([...tested, 'config'].sort()).toEqual([...trainableSchedulers].sort());
  });

  describe.each(configs)('%s', (name, config, eta) => {
    const cases = [...masks.map((mask) => [mask, false, 'x_0'] as const), ...otherCases];
    // The walk is the same for all schedulers: a few plans are enough for those besides DDIM.
    it.each(
      cases.filter(([mask, inputDetached]) => name.startsWith('ddim') || fewMasks.has(`${mask} ${inputDetached}`)),
    )('equals the nested graph for mask %s, input detached %s, showing %s', async (mask, inputDetached, shown) => {
      const plan = planOf(mask, inputDetached);
      const scheduler = schedulerFor(name.split(',')[0]!, config);
      const steps = scheduler.timesteps(6).slice(0, mask.length);
      const params = newParams();
      const start: Tensor4D = randomNormal(shape, 0, 1, 'float32', 3);
      const noise = steps.map((_, i): Tensor4D => randomNormal(shape, 0, 1, 'float32', 10 + i));
      const dy: Tensor4D = randomNormal(shape, 0, 1, 'float32', 4);
      const whole = vjp(nested(scheduler, eta, steps, noise, plan, shown), params, [start], dy, []);
      const trajectory = walkDown(scheduler, eta, steps, start, noise, params, shown);
      const up = await walkUp(newChain(scheduler, eta, params), trajectory, plan, dy);
      expect(Array.from(trajectory.latents.at(-1)!.dataSync())).toEqual(Array.from(whole.value.dataSync()));
      expect(Object.keys(up.params)).toEqual(['first', 'second']);
      for (const name of ['first', 'second']) expectClose(up.params[name]!, whole.params[name]!);
      const earliest = mask.indexOf('1');
      up.latents.forEach((gradient, i) => expect(gradient !== undefined, `latents ${i}`).toBe(i > earliest));
    });
  });

  it.each([
    ['010011', false, 'x_0'],
    ['100101', true, 'x_0'],
    ['0101', false, 'predicted-x_0'],
  ] as const)(
    'equals the nested graph with penalties, for mask %s, input detached %s, showing %s',
    async (mask, inputDetached, shown) => {
      const plan = planOf(mask, inputDetached);
      const scheduler = new DDIMScheduler({ clip_sample: false });
      const steps = scheduler.timesteps(6).slice(0, mask.length);
      const [params, reference] = [
        newParams(),
        { first: randomNormal([5, 7], 0, 0.7, 'float32', 5), second: randomNormal([7, 4], 0, 0.4, 'float32', 6) },
      ];
      const start: Tensor4D = randomNormal(shape, 0, 1, 'float32', 3);
      const noise = steps.map((_, i): Tensor4D => randomNormal(shape, 0, 1, 'float32', 10 + i));
      const dy: Tensor4D = randomNormal(shape, 0, 1, 'float32', 4);
      const penaltyWeights = { kl: 20, norm: 3 };
      let kl: Tensor | undefined;
      let excess: Tensor | undefined;
      const length = (x: Tensor) => sqrt(mean(square(x), [1, 2, 3])); // [B]
      const loss: ModelFunction = (weights, x) => {
        const predictions: [Tensor, Tensor][] = [];
        const image = nested(scheduler, 0.5, steps, noise, plan, shown, predictions)(weights, x!) as Tensor;
        const compared = predictions
          .map(
            ([input, output], i) =>
              [output, stopGradient(model(reference, input, tensor([steps[i]!.t])) as Tensor)] as const,
          )
          .filter((_, i) => trains(plan[i]!));
        kl = keep(mean(square(stack(compared.map(([own, other]) => sub(own, other))))));
        excess = keep(mean(relu(stack(compared.map(([own, other]) => sub(length(own), length(other)))))));
        const penalties = add(mul(kl, penaltyWeights.kl), mul(excess, penaltyWeights.norm));
        return add(sum(mul(image, dy)), penalties);
      };
      const whole = vjp(loss, params, [start], scalar(1), []);
      const chain: Chain = {
        ...newChain(scheduler, 0.5, params),
        referencePrediction: async (x, step) => model(reference, x, tensor([step.t])) as Tensor4D,
      };
      const up = await walkUp(chain, walkDown(scheduler, 0.5, steps, start, noise, params, shown), plan, dy, {
        penaltyWeights,
      });
      for (const name of ['first', 'second']) expectClose(up.params[name]!, whole.params[name]!);
      expect(up.penalties!.kl).toBeCloseTo(kl!.dataSync()[0]!, 4);
      expect(up.penalties!.normExcess).toBeCloseTo(excess!.dataSync()[0]!, 5);
      expect(up.penalties!.normExcess).toBeGreaterThan(0.01);
      const plain = await walkUp(chain, walkDown(scheduler, 0.5, steps, start, noise, params, shown), plan, dy);
      expect(plain.penalties).toBeUndefined();
      expect(() => expectClose(plain.params.first!, whole.params.first!, 0.01)).toThrow();
    },
  );

  it('returns the gradient of every latent after the earliest attached step', async () => {
    const scheduler = new DDIMScheduler({ clip_sample: false });
    const steps = scheduler.timesteps(4);
    const params = newParams();
    const start: Tensor4D = randomNormal(shape, 0, 1, 'float32', 3);
    const noise = steps.map((): Tensor4D => zerosLike(start));
    const plan = planOf('1101');
    const trajectory = walkDown(scheduler, 0, steps, start, noise, params);
    const dy: Tensor4D = randomNormal(shape, 0, 1, 'float32', 4);
    const { latents } = await walkUp(newChain(scheduler, 0, params), trajectory, plan, dy);
    for (let i = 1; i < 4; i++) {
      const rest = vjp(
        nested(scheduler, 0, steps.slice(i), noise.slice(i), plan.slice(i)),
        params,
        [trajectory.latents[i]!],
        dy,
      );
      expectClose(latents[i]!, rest.inputs[0]!);
    }
  });

  it('runs the model at attached steps only, leaks nothing, and stops when aborted', async () => {
    const scheduler = new DDIMScheduler({ clip_sample: false });
    const steps = scheduler.timesteps(6);
    const params = newParams();
    const start: Tensor4D = randomNormal(shape, 0, 1, 'float32', 3);
    const trajectory = walkDown(
      scheduler,
      0,
      steps,
      start,
      steps.map(() => zerosLike(start)),
      params,
    );
    const plan = planOf('010010');
    const chain = newChain(scheduler, 0, params);
    const controller = new AbortController();
    const calls: number[] = [];
    const counting: Chain = {
      ...chain,
      predictionVjp: (x, step, ...rest) => (calls.push(step.index), chain.predictionVjp(x, step, ...rest)),
    };
    await expectNoLeaks(() => walkUp(counting, trajectory, plan, start));
    expect(calls).toEqual([4, 1]);
    const aborting: Chain = {
      ...chain,
      predictionVjp: (...args) => (controller.abort(), chain.predictionVjp(...args)),
    };
    await expectNoLeaks(async () => {
      await expect(walkUp(aborting, trajectory, plan, start, { signal: controller.signal })).rejects.toThrow(/aborted/);
      await expect(walkUp(chain, trajectory, plan.slice(1), start)).rejects.toThrow(/expected 6 entries/);
    });
    expect(Object.keys(trainable(params))).toHaveLength(2);
  });
});

function expectClose(actual: Tensor, expected: Tensor, tolerance = 2e-5): void {
  expect(actual.shape).toEqual(expected.shape);
  const [a, e] = [actual.dataSync<'float32'>(), expected.dataSync<'float32'>()];
  const scale = e.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  a.forEach((value, i) => expect(Math.abs(value - e[i]!)).toBeLessThanOrEqual(tolerance * scale));
}
