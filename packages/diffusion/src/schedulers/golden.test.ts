import { mul, stack, sub, tidy, unstack, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { useBackend, vjp } from '@alignprop/autograd-ext';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { expectClose, fixtureJson, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { createScheduler } from './create-scheduler.js';
import type { EulerStepOptions } from './euler-discrete.js';
import { unitLevels } from './prediction.js';
import type { ModelCall, Scheduler, Step } from './scheduler.js';

interface Case {
  class: string;
  config: Record<string, unknown>;
  steps: number;
  calls: number;
  init_noise_sigma: number;
  fractional_timesteps?: boolean;
  step?: { eta?: number; s_churn?: number; s_tmin?: number; s_tmax?: number; s_noise?: number };
  noise_drawn_at_call?: number[];
  /** False where the recorded gradients would be rounding errors. */
  gradients?: boolean;
}
const cases = ['schedulers-2', 'schedulers-3'].flatMap((folder) =>
  Object.entries(fixtureJson<{ cases: Record<string, Case> }>(`${folder}/case.json`).cases).map(
    ([name, recorded]) => [name, recorded] as const,
  ),
);

/** JSON has no -Infinity: the fixtures have it as a string. */
const newScheduler = ({ class: _class_name, config }: Case): Scheduler =>
  createScheduler({
    ...config,
    ...(config.lambda_min_clipped === '-Infinity' && { lambda_min_clipped: -Infinity }),
    _class_name,
  });

const optionsOf = ({ step = {} }: Case): EulerStepOptions => ({
  eta: step.eta,
  sChurn: step.s_churn,
  sTmin: step.s_tmin,
  sTmax: step.s_tmax,
  sNoise: step.s_noise,
});

/** The recorded tensors of one case, NHWC where they are samples. */
class Recording {
  constructor(
    readonly io: Record<string, Tensor>,
    readonly name: string,
    readonly recorded: Case,
  ) {}

  get(field: string): Tensor {
    return this.io[`${this.name}.${field}`]!;
  }

  has(field: string): boolean {
    return this.io[`${this.name}.${field}`] !== undefined;
  }

  list(field: string): Tensor4D[] {
    return unstack(this.get(field)).map(toNHWC);
  }

  /** The noise of every call that draws some. */
  noises(): (Tensor4D | undefined)[] {
    const { calls, noise_drawn_at_call: at = [] } = this.recorded;
    const drawn = at.length > 0 ? this.list('noise') : [];
    return Array.from({ length: calls }, (_, i) => drawn[at.indexOf(i)]);
  }
}

/** Runs a chain with given model outputs. Returns the samples before and after the steps. */
function run(
  scheduler: Scheduler,
  chain: readonly Step[],
  start: Tensor4D,
  outputs: readonly Tensor4D[],
  { noises, options }: { noises: readonly (Tensor4D | undefined)[]; options: EulerStepOptions },
): Tensor4D[] {
  const history: ModelCall[] = [];
  const xs = [start];
  for (const [i, step] of chain.entries()) {
    const [sample, modelOutput] = [xs.at(-1)!, outputs[i]!];
    const recent = scheduler.historyLength > 0 ? history.slice(-scheduler.historyLength) : [];
    xs.push(scheduler.step(modelOutput, step, sample, { ...options, noise: noises[i], history: recent }).prevSample);
    history.push({ modelOutput, sample });
  }
  return xs;
}

describe('the schedulers of diffusers', () => {
  let io: Record<string, Tensor>;
  beforeAll(async () => {
    await useBackend('cpu');
    io = {
      ...(await fixtureTensors('schedulers-2/io.safetensors')),
      ...(await fixtureTensors('schedulers-3/io.safetensors')),
    };
  });
  afterAll(() => Object.values(io).forEach((tensor) => tensor.dispose()));

  describe.each(cases)('%s', (name, recorded) => {
    const scheduler = newScheduler(recorded);
    const chain = scheduler.timesteps(recorded.steps);
    const recording = () => new Recording(io, name, recorded);

    it('have the timesteps, noise levels and input scales of diffusers', () => {
      tidy(() => {
        const golden = recording();
        const timesteps = [...golden.get('timesteps').dataSync()];
        expect(chain).toHaveLength(recorded.calls);
        const distance = Math.max(...chain.map(({ t }, i) => Math.abs(t - timesteps[i]!)));
        expect(distance).toBeLessThanOrEqual(recorded.fractional_timesteps ? 1e-3 : 0);
        expect(scheduler.initNoiseSigma(recorded.steps) / recorded.init_noise_sigma).toBeCloseTo(1, 5);
        if (golden.has('sigmas')) {
          const expected = [...new Set(golden.get('sigmas').dataSync())];
          const levels = [...new Set(chain[0]!.sigmas)];
          expect(levels).toHaveLength(expected.length);
          levels.forEach((sigma, i) => expect(Math.abs(sigma - expected[i]!)).toBeLessThanOrEqual(1e-5 * expected[i]!));
        }
        const xs = golden.list('xs');
        const scaled = golden.has('scaled') ? golden.list('scaled') : xs.slice(0, -1);
        chain.forEach((step, i) => expectClose(mul(xs[i]!, scheduler.inputScale(step)), scaled[i]!, 1e-5, 'input'));
      });
    });

    it('draw noise at the calls where diffusers does, unless an option of the step asks for it', () => {
      const { step = {}, noise_drawn_at_call: expected = [] } = recorded;
      if (step.s_churn !== undefined) return expect(chain.some((call) => scheduler.drawsNoise(call))).toBe(false);
      expect(chain.flatMap((call, i) => (scheduler.drawsNoise(call, step.eta) ? [i] : []))).toEqual(expected);
    });

    it('compute the samples and the predicted x_0 of diffusers', () => {
      tidy(() => {
        const golden = recording();
        const outputs = golden.list('model_outputs');
        const given = { noises: golden.noises(), options: optionsOf(recorded) };
        const xs = run(scheduler, chain, golden.list('xs')[0]!, outputs, given);
        expectClose(stack(xs.map(toNCHW)), golden.get('xs'), 1e-4, 'xs');
        // TCD's recorded value is not x_0.
        if (!golden.has('denoised_first_last') || recorded.class === 'TCDScheduler') return;
        const { predOriginalSample } = scheduler.step(outputs[0]!, chain[0]!, xs[0]!, {
          ...given.options,
          noise: given.noises[0],
        } as EulerStepOptions);
        expectClose(toNCHW(predOriginalSample), unstack(golden.get('denoised_first_last'))[0]!, 1e-4, 'x_0');
      });
    });

    if (recorded.gradients === false) return;

    it('have the vector-Jacobian products of diffusers, step by step', () => {
      tidy(() => {
        const golden = recording();
        const [xs, outputs, cotangents] = ['xs', 'model_outputs', 'cotangents'].map((field) => golden.list(field));
        const [samples, modelOutputs] = ['grad_sample', 'grad_model_output'].map((field) => golden.list(field));
        const calls = chain.map((_, i): ModelCall => ({ sample: xs![i]!, modelOutput: outputs![i]! }));
        for (const [i, step] of chain.entries()) {
          const options = { ...optionsOf(recorded), noise: golden.noises()[i], history: calls.slice(0, i) };
          const fn = (_: unknown, sample: Tensor, output: Tensor) =>
            scheduler.step(output as Tensor4D, step, sample as Tensor4D, options).prevSample;
          const { inputs } = vjp(fn as never, {}, [xs![i]!, outputs![i]!], cotangents![i]!, [0, 1]);
          const sample = sub(inputs[0]!, mul(cotangents![i]!, statePath(scheduler, step)));
          expectClose(sample, samples![i]!, 1e-4, `gradient of sample ${i}`);
          expectClose(inputs[1]!, modelOutputs![i]!, 1e-4, `gradient of output ${i}`);
        }
      });
    });

    it('have the vector-Jacobian product of diffusers through the whole chain', () => {
      tidy(() => {
        const golden = recording();
        const outputs = golden.list('model_outputs');
        const options = { noises: golden.noises(), options: optionsOf(recorded) };
        const fn = (_: unknown, start: Tensor, ...given: Tensor[]) =>
          run(scheduler, chain, start as Tensor4D, given as Tensor4D[], options).at(-1)!;
        const start = golden.list('xs')[0]!;
        const wrt = [0, ...outputs.map((_, i) => i + 1)];
        const cotangent = toNHWC(golden.get('chain_cotangent'));
        const { inputs } = vjp(fn as never, {}, [start, ...outputs], cotangent, wrt);
        expectClose(toNCHW(inputs[0]!), golden.get('chain_grad_x0'), 1e-4, 'gradient of x_T');
        const actual = stack(inputs.slice(1).map(toNCHW));
        expectClose(actual, golden.get('chain_grad_model_outputs'), 1e-4, 'gradients of the outputs');
      });
    });
  });
});

/**
 * The weight of a UniPC step's sample that the recorded products of single steps lack: diffusers' corrector starts from
 * the sample that it stored at the call before, where ours starts from the sample that the step is given.
 */
function statePath({ config }: Scheduler, { index, sigmas }: Step): number {
  const isCorrected = index > 0 && !(config.disable_corrector as number[] | undefined)?.includes(index - 1);
  if (config._class_name !== 'UniPCMultistepScheduler' || !isCorrected) return 0;
  const [from, to] = [unitLevels(sigmas![index]!), unitLevels(sigmas![index + 1]!)];
  return config.predict_x0 ? to.noise / from.noise : to.signal / from.signal;
}
