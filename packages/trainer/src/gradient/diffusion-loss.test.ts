import {
  add,
  mean,
  mul,
  reshape,
  scalar,
  square,
  stack,
  sub,
  tensor1d,
  transpose,
  tensor4d,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { disposeTensors, random, TfjsEngine, trainable, useBackend, type ModelFunction } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { DDIMScheduler, StableDiffusionPipeline, unet2DCondition } from '@alignprop/diffusion';
import { addLora } from '@alignprop/lora';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose, fixturePath } from '../../../../fixtures/index.js';
import { adaptedPipeline } from '../estimators/__fixtures__/nested-graph.js';
import { DataBatches } from '../data/data-batches.js';
import type { DataExample } from '../data/examples.js';
import { globalNorm } from '../optim/gradients.js';
import { DiffusionLoss } from './diffusion-loss.js';
import { GuidedUNet } from './guided-unet.js';
import { TextEncoderGradient } from './text-encoder-gradient.js';

const config = { data_batch_size: 2, clip_skip: 0, height: 16, width: 16 };
const scale = 3;
const examples = (size: number): readonly DataExample[] =>
  ['a crab', 'a fox', 'an owl'].map((caption, i) => ({ caption, latents: random(i).randn(size) }));

const lossOf = (pipeline: StableDiffusionPipeline) =>
  new DiffusionLoss(new GuidedUNet(pipeline), new TextEncoderGradient(pipeline));

/** √ᾱ of the training timesteps of a scaled linear schedule, from its definition. */
function signalLevels(first = 0.00085, last = 0.012, count = 1000): number[] {
  const [from, to] = [Math.sqrt(first), Math.sqrt(last)];
  let product = 1;
  return Array.from({ length: count }, (_, t) => {
    product *= 1 - (from + ((to - from) * t) / (count - 1)) ** 2;
    return Math.sqrt(product);
  });
}

/**
 * The same draws as `DataBatches`, and the loss as one graph of `(params, pictures, noise, embeddings)`, as a framework
 * with a tape would run it.
 */
function nestedLoss(pipeline: StableDiffusionPipeline, type: string, dataset: readonly DataExample[]) {
  const generator = random(9);
  const drawn = [0, 1].map(() => dataset[generator.randint(0, dataset.length, 1)[0]!]!);
  const timesteps = [...generator.randint(0, 1000, 2)];
  const pictures = stack(drawn.map(({ latents }) => reshape(tensor1d([...latents!]), [4, 4, 4]))) as Tensor4D;
  const noise = transpose(tensor4d(generator.randn(2 * 64), [2, 4, 4, 4]), [0, 2, 3, 1]);
  const levels = (of: (signal: number) => number) =>
    tensor4d(
      timesteps.map((t) => of(signalLevels()[t]!)),
      [2, 1, 1, 1],
    );
  const fn: ModelFunction = (params, x, eps, embeds) => {
    const [signal, sigma] = [levels((a) => a), levels((a) => Math.sqrt(1 - a * a))];
    const noisy = add(mul(x!, signal), mul(eps!, sigma)) as Tensor4D;
    const predicted = unet2DCondition(pipeline.unet.config, params, noisy, tensor1d(timesteps), embeds as never);
    const targets: Record<string, () => Tensor4D> = {
      epsilon: () => eps as Tensor4D,
      v_prediction: () => sub(mul(eps!, signal), mul(x!, sigma)),
      sample: () => x as Tensor4D,
    };
    return mean(square(sub(predicted, targets[type]!())));
  };
  return { fn, pictures, noise, captions: drawn.map(({ caption }) => caption), timesteps };
}

describe('DiffusionLoss', () => {
  let adapted: StableDiffusionPipeline;
  beforeAll(async () => {
    await useBackend('wasm');
    adapted = await adaptedPipeline();
  });

  it.each(['epsilon', 'v_prediction', 'sample'])('has the gradient of the loss as one graph: %s', async (type) => {
    const scheduler = DDIMScheduler.fromConfig({ ...adapted.scheduler.config, prediction_type: type });
    const pipeline = adapted.with({ scheduler });
    const dataset = examples(64);
    const nested = nestedLoss(pipeline, type, dataset);
    const { promptEmbeds } = await pipeline.encodePrompt(nested.captions);
    const whole = pipeline.engine.compileVjp(nested.fn, { wrt: [] });
    const inputs = [nested.pictures, nested.noise, promptEmbeds];
    const expected = await whole(pipeline.unet.params, inputs, scalar(scale));
    const batch = await new DataBatches(pipeline, dataset, config, random(9)).draw();
    expect([batch.captions, batch.timesteps]).toEqual([nested.captions, nested.timesteps]);
    const { params, loss } = await lossOf(pipeline).gradients(batch, scale);
    expect(loss).toBeCloseTo(expected.value.dataSync()[0]!, 5);
    expect(Object.keys(params)).toEqual(Object.keys(expected.params));
    for (const [path, gradient] of Object.entries(params)) expectClose(gradient, expected.params[path]!, 1e-4, path);
  });

  it.each([
    ['sd2-tiny', 64],
    ['sdxl-tiny', 16],
  ])('reaches the text encoders of %s as finite differences do', async (model, size) => {
    const base = await StableDiffusionPipeline.fromPretrained(fixturePath(`${model}/model`), {
      engine: new TfjsEngine(),
    });
    const adapter = (targetModules: string[]) => ({ r: 2, loraAlpha: 2, targetModules });
    const { unet, ...texts } = base.params;
    const adaptedTexts = Object.entries(texts).map(([name, params]) => [
      name,
      addLora(params, adapter(['q_proj', 'v_proj']), random(3)),
    ]);
    const pipeline = base.withParams({
      unet: addLora(unet, adapter(['to_q']), random(4)),
      ...(Object.fromEntries(adaptedTexts) as object),
    });
    const variables = Object.entries(pipeline.params).flatMap(([name, params]) =>
      Object.entries(trainable(params)).map(([path, value]) => [name === 'unet' ? path : `${name}.${path}`, value]),
    ) as [string, ReturnType<typeof trainable>[string]][];
    for (const [i, [, value]] of variables.entries())
      value.assign(reshape(tensor1d([...random(i).randn(value.size)].map((x) => 0.1 * x)), value.shape));
    const loss = lossOf(pipeline);
    const compute = async () => {
      const batch = await new DataBatches(pipeline, examples(size), config, random(9)).draw();
      return loss.gradients(batch, 1);
    };
    const { params } = await compute();
    expect(Object.keys(params).sort()).toEqual(variables.map(([path]) => path).sort());
    for (const part of ['unet', ...Object.keys(texts)]) {
      const own = variables.filter(([path]) =>
        part === 'unet' ? !path.startsWith('text_encoder') : path.startsWith(`${part}.`),
      );
      const norm = globalNorm(Object.fromEntries(own.map(([path]) => [path, params[path]!]))).dataSync()[0]!;
      const move = (step: number) =>
        own.forEach(([path, value]) => value.assign(add(value, mul(params[path]!, step / norm))));
      const h = 0.02;
      move(h);
      const above = (await compute()).loss;
      move(-2 * h);
      const below = (await compute()).loss;
      move(h);
      expect(norm, part).toBeGreaterThan(0);
      expect((above - below) / (2 * h) / norm, part).toBeCloseTo(1, 1);
    }
  });

  it('frees what it computes, also for a loss that is not finite, which it names', () =>
    expectNoLeaks(async () => {
      const bad = [{ caption: 'a crab', latents: new Float32Array(64).fill(NaN) }];
      const drawn = await new DataBatches(adapted, bad, config, random(9)).draw();
      const loss = lossOf(adapted);
      await expect(loss.gradients(drawn, 1)).rejects.toThrow(
        "the diffusion loss of the captions 'a crab', 'a crab' is NaN.",
      );
      const good = await new DataBatches(adapted, examples(64), config, random(9)).draw();
      disposeTensors([await loss.gradients(good, 1), drawn, good]);
    }));
});
