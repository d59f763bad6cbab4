import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  add,
  dispose,
  memory,
  mul,
  randomNormal,
  sum,
  tensor,
  tidy,
  type Tensor4D,
  type Variable,
} from '@tensorflow/tfjs-core';
import { flattenTensors, random, trainable, type StoredTensor, disposeTensors } from '@alignprop/autograd-ext';
import { DDIMScheduler, UNet2DConditionModel, type StableDiffusionPipeline } from '@alignprop/diffusion';
import { addLora, loraTensors } from '@alignprop/lora';
import { describe, expect, it } from 'vitest';
import { brightness, collect, tinyTrainer } from '../__fixtures__/tiny-run.js';
import { out, pipeline, tinySuite } from '../__fixtures__/tiny-suite.js';
import type { AlignPropConfigInput } from '../config/config.js';
import { AlignPropGradient } from '../gradient/alignprop-gradient.js';
import { trainableUNet } from '../model/trainable-pipeline.js';
import { chainOf } from '../estimators/__fixtures__/chains.js';
import { drawPlan } from '../estimators/plans.js';
import { full } from '../estimators/draft.js';

tinySuite();

const variablesOf = ({ unet }: StableDiffusionPipeline) => trainable(unet.params);
const values = (variables: Readonly<Record<string, Variable>>) =>
  Object.fromEntries(Object.entries(variables).map(([path, x]) => [path, x.dataSync().slice()]));
const free = (whole: StableDiffusionPipeline) => dispose(variablesOf(whole));

const config: AlignPropConfigInput = {
  use_lora: false,
  num_epochs: 4,
  sample_num_steps: 2,
  train_batch_size: 1,
  train_learning_rate: 1e-3,
  train_lr_scheduler: 'linear',
  train_lr_warmup_steps: 1,
  train_use_8bit_adam: true,
};

describe('training the whole UNet', () => {
  it('has the gradient of every weight, along which the loss falls at the rate of its norm', async () => {
    const whole = (await trainableUNet(pipeline)).with({
      scheduler: DDIMScheduler.fromConfig(pipeline.scheduler.config),
    });
    const variables = variablesOf(whole);
    expect(Object.keys(variables).sort()).toEqual(Object.keys(flattenTensors(pipeline.unet.params)).sort());
    const gradient = new AlignPropGradient(whole, brightness, { numInferenceSteps: 2, guidanceScale: 5, eta: 0 });
    const prompts = ['cat'];
    const inputs = {
      latents: randomNormal([1, 4, 4, 4], 0, 1, 'float32', 2) as Tensor4D,
      promptEmbeds: (await whole.encodePrompt(prompts)).promptEmbeds,
      negativePromptEmbeds: (await whole.encodePrompt([''])).promptEmbeds,
      noise: random(1),
      plan: drawPlan(full(), chainOf(2), random(1)),
      prompts,
      promptMetadata: [undefined],
    };
    const loss = async () => {
      const { rewards, ...rest } = await gradient.compute(inputs);
      const value = -rewards.dataSync()[0]!;
      disposeTensors([rewards, rest]);
      return value;
    };
    const { params } = await gradient.compute(inputs);
    const norm = Math.sqrt(
      Object.values(params).reduce((total, g) => total + tidy(() => sum(mul(g, g)).dataSync()[0]!), 0),
    );
    const before = values(variables);
    const move = (distance: number) =>
      tidy(() =>
        Object.entries(variables).forEach(([path, variable]) =>
          variable.assign(add(tensor(before[path]!, variable.shape), mul(params[path]!, distance / norm))),
        ),
      );
    const distance = 2e-4;
    move(distance);
    const ahead = await loss();
    move(-distance);
    const behind = await loss();
    expect((ahead - behind) / (2 * distance) / norm).toBeCloseTo(1, 1);
    // Attention over a single position has weight 1 whatever q and k are, so that their gradients are 0.
    const zero = Object.keys(params).filter((path) => params[path]!.dataSync().every((x) => x === 0));
    expect(zero.filter((path) => !/^mid_block\..*\.attn1\.to_[qk]\./.test(path))).toEqual([]);
    free(whole);
  });

  it('resumes bit for bit with 8-bit moments and a schedule, and writes a UNet that loads', async () => {
    const straight = await trainableUNet(pipeline);
    const reference = tinyTrainer({ pipeline: straight, config });
    const all = await collect(reference);
    expect(all.map(({ learningRate }) => learningRate)).toEqual([0, 1e-3, 1e-3 * (2 / 3), 1e-3 / 3]);

    const interrupted = await trainableUNet(pipeline);
    const first = tinyTrainer({ pipeline: interrupted, config: { ...config, output_dir: out } });
    for await (const { globalStep } of first.train()) if (globalStep === 1) break;
    const resumed = await trainableUNet(pipeline);
    const second = tinyTrainer({ pipeline: resumed, config: { ...config, output_dir: out, resume_from: out } });
    expect(await collect(second)).toEqual(all.slice(2));
    expect(values(variablesOf(resumed))).toEqual(values(variablesOf(straight)));

    const saved = await UNet2DConditionModel.fromPretrained(join(out, 'unet'));
    expect(saved.config).toEqual(pipeline.unet.config);
    expect(JSON.parse(await readFile(join(out, 'unet/config.json'), 'utf8'))).toMatchObject({
      _class_name: 'UNet2DConditionModel',
    });
    const loaded = flattenTensors(saved.params) as Record<string, StoredTensor>;
    for (const [path, variable] of Object.entries(variablesOf(resumed)))
      expect(await loaded[path]!.read(), path).toEqual(variable.dataSync());
    for (const trainer of [reference, first, second]) trainer.dispose();
    for (const used of [straight, interrupted, resumed]) free(used);
  });

  it('leaks no tensors', async () => {
    const before = memory().numTensors;
    const whole = await trainableUNet(pipeline);
    const trainer = tinyTrainer({ pipeline: whole, config: { ...config, num_epochs: 1, train_use_8bit_adam: false } });
    await collect(trainer);
    trainer.dispose();
    free(whole);
    await Promise.resolve();
    expect(memory().numTensors).toBe(before);
  });

  it('refuses a pipeline where nothing, or an adapter, is trainable', async () => {
    expect(() => tinyTrainer({ pipeline, config })).toThrow(
      /no weight of the UNet is trainable\. Pass `await trainableUNet\(pipeline\)`/,
    );
    const params = addLora(pipeline.unet.params, { r: 1, loraAlpha: 1, targetModules: ['to_q'] }, random(0));
    expect(() => tinyTrainer({ pipeline: pipeline.with({ unet: pipeline.unet.withParams(params) }), config })).toThrow(
      /use_lora is false, but the UNet has an adapter/,
    );
    dispose(loraTensors(params));
    const whole = await trainableUNet(pipeline);
    expect(() => tinyTrainer({ pipeline: whole })).toThrow(/set use_lora to false to train the whole UNet/);
    free(whole);
  });
});
