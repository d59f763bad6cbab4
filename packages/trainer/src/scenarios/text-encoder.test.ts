import { join } from 'node:path';
import {
  add,
  clone,
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
import { random, trainable } from '@alignprop/autograd-ext';
import { DDIMScheduler, type StableDiffusionPipeline } from '@alignprop/diffusion';
import { addLora, applyLora, loadLora, loraTensors } from '@alignprop/lora';
import { describe, expect, it } from 'vitest';
import { brightness, collect, tinyTrainer } from '../__fixtures__/tiny-run.js';
import { out, pipeline } from '../__fixtures__/tiny-suite.js';
import type { AlignPropConfigInput } from '../config/config.js';
import { AlignPropGradient } from '../gradient/alignprop-gradient.js';
import { draftLV, full } from '../estimators/draft.js';
import { drawPlan, type Plan } from '../estimators/plans.js';
import { prefixed } from '../model/trained-weights.js';

const config: AlignPropConfigInput = {
  train_text_encoder: true,
  sample_num_steps: 2,
  train_batch_size: 1,
  num_epochs: 4,
  negative_prompts: ['grey', 'dark'],
  train_learning_rate: 0.01,
};
const targets = { r: 2, loraAlpha: 2, targetModules: ['q_proj', 'v_proj'] };

/** All trained variables, those of the text encoder included. */
const weights = ({ unet, textEncoder }: StableDiffusionPipeline): Record<string, Variable> => ({
  ...trainable(unet.params),
  ...prefixed(trainable(textEncoder.params)),
});
const values = (trained: StableDiffusionPipeline) =>
  Object.fromEntries(Object.entries(weights(trained)).map(([path, x]) => [path, x.dataSync().slice()]));

describe('training the text encoder', () => {
  // With renoised chains, the reported loss is not the one that is differentiated: only the names are checked there.
  it.each<[string, () => Plan, number]>([
    ['with guidance: the loss falls along it at the rate of its norm', full, 5],
    ['without guidance: the loss falls along it at the rate of its norm', full, 1],
    ['with renoised chains', () => draftLV(1), 5],
  ])('has the gradient of its adapter, %s', async (_, plan, guidanceScale) => {
    const params = addLora(pipeline.textEncoder.params, targets, random(3));
    const text = pipeline.with({
      textEncoder: pipeline.textEncoder.withParams(params),
      scheduler: DDIMScheduler.fromConfig(pipeline.scheduler.config),
    });
    const variables = prefixed(trainable(params));
    tidy(() =>
      Object.values(variables).forEach((variable, i) =>
        variable.assign(randomNormal(variable.shape, 0, 0.3, 'float32', i + 1)),
      ),
    ); // B of a new adapter is 0; tfjs ignores a seed of 0
    const gradient = new AlignPropGradient(text, brightness, { numInferenceSteps: 2, guidanceScale, eta: 0 });
    const latents: Tensor4D = randomNormal([2, 4, 4, 4], 0, 1, 'float32', 2);
    const noise: Tensor4D = randomNormal([2, 4, 4, 4], 0, 1, 'float32', 4);
    const prompts = ['a red crab', 'a horse'];
    const negativePrompts = ['grey', 'dark'];
    const gradients = async () => {
      const { promptEmbeds } = await text.encodePrompt(prompts);
      const { promptEmbeds: negativePromptEmbeds } = await text.encodePrompt(negativePrompts);
      const drawn = drawPlan(plan(), 2, random(1));
      return gradient.compute({
        latents,
        promptEmbeds,
        negativePromptEmbeds,
        negativePrompts,
        noise: () => clone(noise),
        plan: drawn,
        prompts,
        promptMetadata: [undefined, undefined],
      });
    };
    const { params: lossGradient } = await gradients();
    expect(Object.keys(lossGradient).sort()).toEqual(Object.keys(variables).sort());
    const norm = Math.sqrt(
      Object.values(lossGradient).reduce((total, g) => total + tidy(() => sum(mul(g, g)).dataSync()[0]!), 0),
    );
    const before = Object.fromEntries(Object.entries(variables).map(([path, x]) => [path, x.dataSync().slice()]));
    const lossAt = async (distance: number) => {
      tidy(() =>
        Object.entries(variables).forEach(([path, variable]) =>
          variable.assign(add(tensor(before[path]!, variable.shape), mul(lossGradient[path]!, distance / norm))),
        ),
      );
      const { rewards } = await gradients();
      return -(rewards.dataSync()[0]! + rewards.dataSync()[1]!) / 2;
    };
    if (plan === full) {
      const distance = 0.01;
      expect(((await lossAt(distance)) - (await lossAt(-distance))) / (2 * distance) / norm).toBeCloseTo(1, 1);
    }
    dispose(loraTensors(params));
  });

  it('resumes bit for bit, and writes both adapters to one file, which loads and draws the same', async () => {
    const straight = tinyTrainer({ pipeline, config });
    const all = await collect(straight);
    const first = tinyTrainer({ pipeline, config: { ...config, output_dir: out } });
    for await (const { globalStep } of first.train()) if (globalStep === 1) break;
    const second = tinyTrainer({ pipeline, config: { ...config, output_dir: out, resume_from: out } });
    expect(await collect(second)).toEqual(all.slice(2));
    expect(values(second.pipeline)).toEqual(values(straight.pipeline));
    const moved = Object.entries(values(second.pipeline)).filter(
      ([path]) => path.startsWith('text_encoder.') && path.endsWith('lora_B.weight'),
    );
    expect(moved.length).toBeGreaterThan(0);
    for (const [path, value] of moved)
      expect(
        value.some((x) => x !== 0),
        path,
      ).toBe(true);

    const file = join(out, 'pytorch_lora_weights.safetensors');
    const state = await loadLora(file);
    expect([...state.components!].sort()).toEqual(['text_encoder', 'unet']);
    const unet = await applyLora(pipeline.unet.params, state);
    const textEncoder = await applyLora(pipeline.textEncoder.params, await loadLora(file, { prefix: 'text_encoder' }));
    const draw = async (from: StableDiffusionPipeline) => {
      const { images, latents } = await from.generate('cat', { seed: 1, numInferenceSteps: 2, height: 16, width: 16 });
      const pixels = [...images.dataSync()];
      dispose([images, latents]);
      return pixels;
    };
    const loaded = second.pipeline.with({
      unet: pipeline.unet.withParams(unet),
      textEncoder: pipeline.textEncoder.withParams(textEncoder),
    });
    expect(await draw(loaded)).toEqual(await draw(second.pipeline));
    expect(await draw(loaded)).not.toEqual(await draw(second.pipeline.with({ textEncoder: pipeline.textEncoder })));
    for (const trainer of [straight, first, second]) trainer.dispose();
    dispose([loraTensors(unet), loraTensors(textEncoder)]);
  });

  it('leaks no tensors, and starts from the same adapter of the UNet as without train_text_encoder', async () => {
    const before = memory().numTensors;
    const both = tinyTrainer({ pipeline, config: { ...config, num_epochs: 1 } });
    const alone = tinyTrainer({ pipeline, config: { ...config, num_epochs: 1, train_text_encoder: false } });
    const paths = Object.keys(trainable(alone.pipeline.unet.params));
    expect(Object.fromEntries(paths.map((path) => [path, values(both.pipeline)[path]]))).toEqual(
      values(alone.pipeline),
    );
    await collect(both);
    both.dispose();
    alone.dispose();
    await Promise.resolve();
    expect(memory().numTensors).toBe(before);
  });

  it('refuses a text encoder with trainable weights unless train_text_encoder is set', () => {
    const params = addLora(pipeline.textEncoder.params, targets, random(0));
    const given = pipeline.with({ textEncoder: pipeline.textEncoder.withParams(params) });
    expect(() => tinyTrainer({ pipeline: given })).toThrow(
      /text encoder has trainable weights .*Set train_text_encoder/,
    );
    dispose(loraTensors(params));
  });
});
