import { scalar, tensor, tensor1d, tidy, zeros, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import { gradients, randn, random, useBackend } from '@alignprop/autograd-ext';
import { checkGradient } from '@alignprop/autograd-ext/testing';
import { DDIMScheduler } from '@alignprop/diffusion';
import { beforeAll, describe, expect, it } from 'vitest';
import golden from '../__fixtures__/ddpo-loss.json' with { type: 'json' };
import { clippedLoss, transitionLogProb } from './policy.js';

const normals = (shape: number[], seed: number) => randn(random(seed), shape) as Tensor4D;
const factors = (values: readonly number[]) => tensor([...values], [values.length, 1, 1, 1]);

const latent = (values: readonly number[]): Tensor4D =>
  tensor([...values], golden.shape as [number, number, number, number]);

function expectNear(actual: ArrayLike<number>, expected: readonly number[], tolerance: number): void {
  const scale = Math.max(...expected.map(Math.abs));
  expect(actual).toHaveLength(expected.length);
  expected.forEach((value, i) =>
    expect(Math.abs(actual[i]! - value), `[${i}] ${actual[i]} against ${value}`).toBeLessThanOrEqual(tolerance * scale),
  );
}

/** Coefficients of four steps of Stable Diffusion's schedule, the last one among them. */
function goldenLogProbs(prediction: Tensor4D): Tensor1D {
  const scheduler = new DDIMScheduler({
    beta_schedule: 'scaled_linear',
    beta_start: 0.00085,
    beta_end: 0.012,
    steps_offset: 1,
    clip_sample: false,
    set_alpha_to_one: false,
  });
  const steps = golden.timesteps.map((t) => scheduler.timesteps(golden.steps).find((step) => step.t === t)!);
  const factor = (name: 'sample' | 'modelOutput' | 'noise') =>
    factors(steps.map((step) => scheduler.coefficients(step, golden.eta)[name]));
  return transitionLogProb(prediction, latent(golden.latents), latent(golden.nextLatents), {
    sample: factor('sample'),
    modelOutput: factor('modelOutput'),
    noise: factor('noise'),
  });
}

/** log N(x; mean, std²), one number at a time. */
const logNormal = (x: number, mean: number, std: number) =>
  Math.log(Math.exp(-0.5 * ((x - mean) / std) ** 2) / (std * Math.sqrt(2 * Math.PI)));

describe.each(['wasm', 'cpu'] as const)("DDPO's policy on %s", (backend) => {
  beforeAll(() => useBackend(backend));

  it('has the mean log-density of a Gaussian step', () => {
    tidy(() => {
      const [prediction, latents, next] = [1, 2, 3].map((seed) => normals([2, 2, 3, 4], seed)) as [
        Tensor4D,
        Tensor4D,
        Tensor4D,
      ];
      const [a, b, sigma] = [
        [1.1, 0.9],
        [-0.4, -0.1],
        [0.5, 0.8],
      ] as const;
      const logProbs = transitionLogProb(prediction, latents, next, {
        sample: factors(a),
        modelOutput: factors(b),
        noise: factors(sigma),
      }).dataSync();
      const [e, x, y] = [prediction.dataSync(), latents.dataSync(), next.dataSync()];
      for (let image = 0; image < 2; image++) {
        let sum = 0;
        for (let i = 24 * image; i < 24 * (image + 1); i++)
          sum += logNormal(y[i]!, a[image]! * x[i]! + b[image]! * e[i]!, sigma[image]!);
        expect(logProbs[image]).toBeCloseTo(sum / 24, 4);
      }
    });
  });

  it('has a gradient that agrees with finite differences', () => {
    tidy(() => {
      const [latents, next] = [normals([2, 2, 2, 4], 2), normals([2, 2, 2, 4], 3)];
      const transition = { sample: scalar(1.05), modelOutput: scalar(-0.3), noise: scalar(0.6) };
      checkGradient(
        (prediction) => transitionLogProb(prediction as Tensor4D, latents, next, transition),
        [normals([2, 2, 2, 4], 1)],
      );
    });
  });

  it.each(golden.cases)(
    "has torch's log-probabilities, loss and gradient: $name",
    ({ prediction, logProbs, loss, gradient }) => {
      tidy(() => {
        const given = latent(prediction);
        const found: { logProbs?: Float32Array } = {};
        const { value, grads } = gradients(() => {
          const current = goldenLogProbs(given);
          found.logProbs = current.dataSync<'float32'>();
          return clippedLoss(current, tensor1d(golden.oldLogProbs), tensor1d(golden.advantages), golden.clipRange);
        }, [given]);
        expectNear(found.logProbs!, logProbs, 2e-6);
        expectNear(value.dataSync(), [loss], 1e-5);
        expectNear(grads[0]!.dataSync(), gradient, 1e-4);
      });
    },
  );

  it('has no gradient where a ratio is clipped in the direction of its advantage', () => {
    tidy(() => {
      const [advantages, ratios] = [
        [1, 1, 1, -1, -1, -1],
        [1.2, 1.05, 0.8, 0.8, 0.95, 1.2],
      ];
      const current = tensor1d(ratios.map(Math.log));
      const { value, grads } = gradients(() => clippedLoss(current, zeros([6]), tensor1d(advantages), 0.1), [current]);
      // d(-A exp(l))/dl = -A exp(l), and 0 at the first and the fourth, which are clipped.
      expectNear(grads[0]!.dataSync(), [0, -1.05 / 6, -0.8 / 6, 0, 0.95 / 6, 1.2 / 6], 1e-6);
      expectNear(value.dataSync(), [(-1.1 - 1.05 - 0.8 + 0.9 + 0.95 + 1.2) / 6], 1e-6);
    });
  });
});
