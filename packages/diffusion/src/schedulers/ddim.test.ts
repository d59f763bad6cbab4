import { stack, tidy, unstack, zeros, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { testBackends } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { toyModel } from './__fixtures__/toy-model.js';
import { DDIMScheduler, type DDIMConfig } from './ddim.js';

interface Case {
  config: Partial<DDIMConfig>;
  steps: number;
  eta: number;
  use_clipped_model_output?: boolean;
}
const cases = Object.entries(fixtureJson<{ cases: Record<string, Case> }>('schedulers/case.json').cases).filter(
  ([name]) => name.startsWith('ddim.'),
);

describe.each(testBackends)('DDIMScheduler on %s', (backend) => {
  let io: Record<string, Tensor>;
  beforeAll(async () => {
    await useBackend(backend);
    io = await fixtureTensors('schedulers/io.safetensors');
  });
  afterAll(() => Object.values(io).forEach((tensor) => tensor.dispose()));

  /** Runs the chain of a case. Returns all samples, and the first and the last predicted x_0, NCHW. */
  function runChain(
    scheduler: DDIMScheduler,
    name: string,
    { steps, eta, use_clipped_model_output: useClippedModelOutput }: Case,
  ) {
    const noises = io[`${name}.noise`] && unstack(io[`${name}.noise`]!);
    let x = toNHWC(io[`${name}.x0`]!);
    const xs: Tensor[] = [x];
    const originals: Tensor[] = [];
    for (const step of scheduler.timesteps(steps)) {
      const noise = noises && toNHWC(noises[step.index % noises.length]!);
      const { prevSample, predOriginalSample } = scheduler.step(toyModel(io, x, step.t), step, x, {
        eta,
        noise,
        useClippedModelOutput,
      });
      xs.push((x = prevSample));
      originals.push(predOriginalSample);
    }
    return { xs: stack(xs.map(toNCHW)), originals: stack([originals[0]!, originals.at(-1)!].map(toNCHW)) };
  }

  it('is tested with all 18 recorded configurations', () => expect(cases).toHaveLength(18));

  it.each(cases)('computes the timesteps, samples and predicted x_0 of diffusers: %s', (name, recorded) => {
    tidy(() => {
      const scheduler = new DDIMScheduler(recorded.config);
      expect(scheduler.timesteps(recorded.steps).map(({ t }) => t)).toEqual([...io[`${name}.timesteps`]!.dataSync()]);
      const { xs, originals } = runChain(scheduler, name, recorded);
      expectClose(xs, io[`${name}.xs`]!, 1e-4, 'xs');
      expectClose(originals, io[`${name}.pred_original_sample_first_last`]!, 1e-4, 'x_0');
    });
  });

  it.each(cases.filter(([name]) => name !== 'ddim.threshold_5'))(
    'computes the samples of TRL with set_alpha_to_one false: %s',
    (name, recorded) => {
      tidy(() =>
        expectClose(
          runChain(new DDIMScheduler({ ...recorded.config, set_alpha_to_one: false }), name, recorded).xs,
          io[`${name}.trl_xs`]!,
          1e-4,
        ),
      );
    },
  );

  it.each(cases)('computes addNoise and getVelocity of diffusers: %s', (name, { config }) => {
    tidy(() => {
      const scheduler = new DDIMScheduler(config);
      const [original, noise] = [toNHWC(io[`${name}.x0`]!), toNHWC(io[`${name}.add_noise.noise`]!)];
      const timesteps = [...io[`${name}.add_noise.timesteps`]!.dataSync()];
      expectClose(toNCHW(scheduler.addNoise(original, noise, timesteps)), io[`${name}.add_noise.out`]!, 1e-4);
      expectClose(toNCHW(scheduler.getVelocity(original, noise, timesteps)), io[`${name}.get_velocity.out`]!, 1e-4);
    });
  });
});

const stableDiffusion: Partial<DDIMConfig> = {
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: 'scaled_linear',
  clip_sample: false,
  set_alpha_to_one: false,
  steps_offset: 1,
};

describe('the errors of DDIMScheduler', () => {
  it('name options with an unsupported value', () => {
    expect(() => new DDIMScheduler({ prediction_type: 'noise' as never })).toThrow(
      /prediction_type got "noise", expected one of epsilon, v_prediction, sample/,
    );
    expect(() => new DDIMScheduler({ dynamic_thresholding_ratio: 2 })).toThrow(/dynamic_thresholding_ratio got 2/);
  });

  it('name a timestep outside the schedule and an offset beyond its end', () => {
    const scheduler = new DDIMScheduler(stableDiffusion);
    const x = undefined as unknown as Tensor4D; // never read
    expect(() => scheduler.step(x, { index: 0, t: 1000, prev: 980 }, x)).toThrow(
      /timestep got 1000, expected an integer from 0 to 999/,
    );
    expect(() => scheduler.coefficients({ index: 0, t: 0.5, prev: 0 })).toThrow(/timestep got 0.5/);
    expect(() => scheduler.timesteps(1000)).toThrow(/steps_offset 1 got timestep 1000/);
  });

  it('report a step with eta above 0 and without noise', async () => {
    await useBackend();
    tidy(() => {
      const x = zeros([1, 2, 2, 4]) as Tensor4D;
      const scheduler = new DDIMScheduler(stableDiffusion);
      expect(() => scheduler.step(x, scheduler.timesteps(5)[0]!, x, { eta: 1 })).toThrow(
        /step 0 \(eta 1\) got no noise/,
      );
    });
  });

  it('report an epsilon model at ᾱ = 0, where x_0 is undetermined', () => {
    const scheduler = new DDIMScheduler({
      ...stableDiffusion,
      rescale_betas_zero_snr: true,
      timestep_spacing: 'trailing',
    });
    expect(() => scheduler.coefficients(scheduler.timesteps(5)[0]!)).toThrow(/timestep 999 got ᾱ = 0/);
  });
});

describe('DDIMScheduler.timesteps', () => {
  it('returns 61 trailing steps for 61, where numpy returns 62', () => {
    const steps = new DDIMScheduler({ timestep_spacing: 'trailing' }).timesteps(61);
    expect(steps).toHaveLength(61);
    expect(steps.at(-1)!.t).toBeGreaterThanOrEqual(0);
  });

  it('gives the last step a previous timestep below 0', () => {
    expect(new DDIMScheduler(stableDiffusion).timesteps(50).at(-1)).toEqual({ index: 49, t: 1, prev: -19 });
  });
});

describe('DDIMScheduler.coefficients', () => {
  it('are finite at every step of every chain with eta 1', () => {
    for (const rescale_betas_zero_snr of [false, true]) {
      const scheduler = new DDIMScheduler({
        ...stableDiffusion,
        prediction_type: 'v_prediction',
        rescale_betas_zero_snr,
        timestep_spacing: 'trailing',
      });
      for (let count = 1; count <= 60; count++) {
        for (const step of scheduler.timesteps(count))
          expect(Object.values(scheduler.coefficients(step, 1)).every(Number.isFinite), `${count} steps`).toBe(true);
      }
    }
  });
});
