import { stack, tidy, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { toyModel } from './__fixtures__/toy-model.js';
import { PNDMScheduler, type PNDMConfig } from './pndm.js';
import type { ModelCall } from './scheduler.js';

const name = 'other.pndm_sd15_20';
const { config, steps } = fixtureJson<{ cases: Record<string, { config: Partial<PNDMConfig>; steps: number }> }>(
  'schedulers/case.json',
).cases[name]!;

describe.each(testBackends)('PNDMScheduler on %s', (backend) => {
  let io: Record<string, Tensor>;
  beforeAll(async () => {
    await useBackend(backend);
    io = await fixtureTensors('schedulers/io.safetensors');
  });
  afterAll(() => Object.values(io).forEach((tensor) => tensor.dispose()));

  it('computes the timesteps and samples of diffusers from historyLength preceding calls', () => {
    tidy(() => {
      const scheduler = new PNDMScheduler(config);
      const history: ModelCall[] = [];
      const chain = scheduler.timesteps(steps);
      const xs = [toNHWC(io[`${name}.scaled_first`]!)];
      for (const step of chain) {
        const sample = xs.at(-1)!;
        const modelOutput = toyModel(io, sample, step.t);
        xs.push(scheduler.step(modelOutput, step, sample, { history }).prevSample);
        history.push({ modelOutput, sample });
        if (history.length > scheduler.historyLength) history.shift();
      }
      expect(chain.map(({ t }) => t)).toEqual([...io[`${name}.timesteps`]!.dataSync()]);
      expectClose(stack(xs.map(toNCHW)), io[`${name}.xs`]!, 1e-4);
    });
  });
});

describe('the errors of PNDMScheduler', () => {
  it('report a chain that is too short for the three Runge-Kutta steps', () => {
    expect(() => new PNDMScheduler().timesteps(3)).toThrow(/numInferenceSteps got 3, expected 4 or more/);
    expect(new PNDMScheduler().timesteps(4)).toHaveLength(13);
  });

  it('report a step without its preceding calls', () => {
    const scheduler = new PNDMScheduler(config);
    const x = undefined as unknown as Tensor4D; // never read
    expect(() =>
      scheduler.step(x, scheduler.timesteps(10)[3]!, x, { history: [{ modelOutput: x, sample: x }] }),
    ).toThrow(/history of step 3 got 1 calls, expected 3/);
  });
});
