import { add, mul, stack, tanh, tidy, transpose, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { backendNames, useBackend } from '@alignprop/autograd-ext';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectClose, fixtureJson, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { testScheduler } from './__fixtures__/test-scheduler.js';
import { PNDMScheduler, type PNDMConfig } from './pndm.js';
import type { ModelCall } from './scheduler.js';

const name = 'other.pndm_sd15_20';
const { config, steps } = fixtureJson<{ cases: Record<string, { config: Partial<PNDMConfig>; steps: number }> }>(
  'schedulers/case.json',
).cases[name]!;

describe.each(backendNames)('PNDMScheduler on %s', (backend) => {
  let io: Record<string, Tensor>;
  beforeAll(async () => {
    await useBackend(backend);
    io = await fixtureTensors('schedulers/io.safetensors');
  });
  afterAll(() => Object.values(io).forEach((tensor) => tensor.dispose()));

  it('walks as diffusers does, with no more history than it asks for', () => {
    tidy(() => {
      const scheduler = new PNDMScheduler(config);
      const [a, b] = ['toy.a', 'toy.b'].map((toy) => transpose(io[toy]!, [1, 2, 0]));
      const history: ModelCall[] = [];
      const chain = scheduler.timesteps(steps);
      const xs = [toNHWC(io[`${name}.scaled_first`]!)];
      for (const step of chain) {
        const sample = xs.at(-1)!;
        const modelOutput: Tensor4D = add(
          mul(tanh(add(mul(a!, sample), b!)), 0.8 + (0.4 * step.t) / 1000),
          mul(sample, 0.1),
        );
        xs.push(scheduler.step(modelOutput, step, sample, { history }).prevSample);
        history.push({ modelOutput, sample });
        if (history.length > scheduler.historyLength) history.shift();
      }
      expect(chain.map(({ t }) => t)).toEqual([...io[`${name}.timesteps`]!.dataSync()]);
      expectClose(stack(xs.map(toNCHW)), io[`${name}.xs`]!, 1e-4);
    });
  });
});

testScheduler('PNDMScheduler', () => new PNDMScheduler(config));
testScheduler(
  'PNDMScheduler (v_prediction, trailing)',
  () => new PNDMScheduler({ ...config, prediction_type: 'v_prediction', timestep_spacing: 'trailing' }),
);

describe('PNDMScheduler refuses', () => {
  it('Runge-Kutta steps, which it does not have', () => {
    expect(() => new PNDMScheduler({ ...config, skip_prk_steps: false })).toThrow(
      /skip_prk_steps got false, expected true/,
    );
    expect(() => new PNDMScheduler()).toThrow(/skip_prk_steps/);
  });

  it('a step without the calls before it', () => {
    const scheduler = new PNDMScheduler(config);
    const x = undefined as unknown as Tensor4D; // never looked at
    expect(() =>
      scheduler.step(x, scheduler.timesteps(10)[3]!, x, { history: [{ modelOutput: x, sample: x }] }),
    ).toThrow(/history of step 3 got 1 calls, expected 3/);
  });
});
