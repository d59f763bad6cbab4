import { add, mul, ones, randomNormal, scalar, tidy, zeros, zerosLike, type Tensor4D } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import { checkGradient, expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose } from '../../../../../fixtures/index.js';
import type { ModelCall, Scheduler, Step } from '../scheduler.js';

const shape = [2, 3, 2, 4] as [number, number, number, number];
const normal = (seed: number) => randomNormal(shape, 0, 1, 'float32', seed) as Tensor4D;

/** The contract of `Scheduler`: tests that every scheduler, with any options, must pass. */
export function testScheduler(name: string, create: () => Scheduler): void {
  describe(`the contract of a scheduler: ${name}`, () => {
    beforeAll(() => useBackend());

    it('orders its steps from the noisiest to the last', () => {
      for (const count of [4, 7, 50]) {
        const steps = create().timesteps(count);
        expect(steps.map((step) => step.index)).toEqual(steps.map((_, i) => i));
        expect(steps.every((step) => step.t >= 0 && step.prev <= step.t)).toBe(true);
        expect(steps.at(-1)!.prev).toBeLessThanOrEqual(0);
        expect(steps.every((step, i) => i === 0 || step.t <= steps[i - 1]!.t)).toBe(true);
      }
    });

    it.each([0, -1, 2.5, NaN, 1e6])('rejects a chain of %d steps', (count) => {
      expect(() => create().timesteps(count)).toThrow(
        /timesteps: numInferenceSteps got .* expected an integer from 1 to/,
      );
    });

    it('has no state: repeats a step exactly after other steps and on another instance', () => {
      tidy(() => {
        const scheduler = create();
        const chain = scheduler.timesteps(6);
        const first = chain.map((step) => take(scheduler, step).prevSample.arraySync());
        const reversed = [...chain].reverse().map((step) => take(create(), step).prevSample.arraySync());
        expect(reversed.reverse()).toEqual(first);
      });
    });

    it('is differentiable in the model output and in the sample', () => {
      const scheduler = create();
      const chain = scheduler.timesteps(6);
      for (const step of [chain[0]!, chain[1]!, chain.at(-1)!]) {
        const fn = (modelOutput: Tensor4D, sample: Tensor4D) => {
          const { prevSample, predOriginalSample } = take(scheduler, step, modelOutput, sample);
          return add(prevSample, mul(predOriginalSample, 0.01));
        };
        // A linear step allows for large differences, which rounding does not disturb at large noise levels.
        const difference = isBounded(scheduler) ? 5e-3 : 0.5;
        tidy(() => checkGradient(fn as never, [normal(1), normal(2)], { step: difference }));
      }
    });

    it('returns the coefficients of a linear step, and throws for any other step', () => {
      const scheduler = create();
      for (const step of scheduler.timesteps(5)) tidy(() => expectLinear(scheduler, step));
    });

    it('adds almost no noise at timestep 0 and leaves almost no signal at the last timestep', () => {
      tidy(() => {
        const scheduler = create();
        const total = scheduler.config.num_train_timesteps as number;
        const [original, noise] = [normal(3), normal(4)];
        const scale = scheduler.inputScale(scheduler.timesteps(4)[0]!) === 1 ? 1 : noiseLevelAt(scheduler, total - 1);
        expectClose(scheduler.addNoise(original, zerosLike(noise), [0, 0]), original, 0.01);
        const noised = scheduler.addNoise(zerosLike(original), noise, [total - 1, total - 1]);
        expectClose(noised, mul(noise, scale), 0.01);
        expect(() => scheduler.addNoise(original, noise, [0, total])).toThrow(/timestep got/);
      });
    });

    it('changes options, and keeps the names of its defaults', () => {
      const scheduler = create();
      const changed = scheduler.withOptions({ steps_offset: 3 });
      expect(changed.config).toEqual({ ...scheduler.config, steps_offset: 3 });
      expect(changed.withOptions({ steps_offset: scheduler.config.steps_offset }).config).toEqual(scheduler.config);
    });

    it("scales the model's input to unit variance, and reports missing noise", () => {
      tidy(() => {
        const scheduler = create();
        const chain = scheduler.timesteps(6);
        expect(scheduler.inputScale(chain[0]!) * scheduler.initNoiseSigma(6)).toBeGreaterThan(0.98);
        expect(scheduler.inputScale(chain[0]!) * scheduler.initNoiseSigma(6)).toBeLessThanOrEqual(1.001);
        const noisy = chain.find((step) => scheduler.drawsNoise(step, 0.5));
        if (!noisy) return;
        const [x, output] = [normal(1), normal(2)];
        expect(() => scheduler.step(output, noisy, x, { eta: 0.5 })).toThrow(/step: step \d+ .* got no noise/);
      });
    });

    it('leaks no tensor', async () => {
      await expectNoLeaks(() => {
        tidy(() =>
          create()
            .timesteps(4)
            .forEach((step) => take(create(), step)),
        );
      });
    });
  });
}

/** Takes a step with random tensors, which depend on the step alone. */
function take(
  scheduler: Scheduler,
  step: Step,
  modelOutput = normal(100 + step.index),
  sample = normal(200 + step.index),
) {
  const history = Array.from({ length: step.index }, (_, i): ModelCall => ({
    modelOutput: normal(300 + i),
    sample: normal(400 + i),
  }));
  return scheduler.step(modelOutput, step, sample, { eta: 0.5, noise: normal(500 + step.index), history });
}

function expectLinear(scheduler: Scheduler, step: Step): void {
  if (isLinear(scheduler)) {
    const { sample, modelOutput, noise } = scheduler.coefficients(step, 0.7);
    const [x, epsilon, z] = [normal(1), normal(2), normal(3)];
    const expected = scheduler.step(epsilon, step, x, { eta: 0.7, noise: z }).prevSample;
    expectClose(add(add(mul(x, scalar(sample)), mul(epsilon, modelOutput)), mul(z, noise)), expected, 1e-5);
  } else {
    expect(() => scheduler.coefficients(step)).toThrow(/coefficients: .* Use step\(\)/);
  }
}

const isLinear = (scheduler: Scheduler) => scheduler.historyLength === 0 && !isBounded(scheduler);

const isBounded = ({ config }: Scheduler) => config.clip_sample === true || config.thresholding === true;

/** σ at a training timestep of a scheduler that scales the model's input. */
const noiseLevelAt = (scheduler: Scheduler, t: number): number =>
  scheduler.addNoise(zeros(shape), ones(shape), [t, t]).dataSync()[0]!;
