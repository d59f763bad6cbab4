import { afterAll, beforeAll, describe, it } from 'vitest';
import { clipByValue, concat, div, randomNormal, slice, sub, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { resize, type Engine, type ModelFunction } from '@alignprop/autograd-ext';
import { initParams } from '@alignprop/autograd-ext/weights';
import { checkGradient, expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixturePath, fixtureTensors, toNHWC } from '../../../../fixtures/index.js';
import { clipVision, CLIPVisionModelWithProjection } from './vision-model.js';

const MEAN = [0.48145466, 0.4578275, 0.40821073];
const STD = [0.26862954, 0.26130258, 0.27577711];

// The aesthetic reward's steps before its head.
const embed =
  (model: CLIPVisionModelWithProjection): ModelFunction =>
  (params, images) => {
    const resized = resize(clipByValue(images as Tensor4D, 0, 1), [224, 224], { mode: 'bilinear' });
    return clipVision(model.config, params, div(sub(resized, MEAN), STD)).imageEmbeds;
  };

describe.each(engineNames)('CLIPVisionModelWithProjection on %s', (backend) => {
  let engine: Engine;
  let model: CLIPVisionModelWithProjection;
  let golden: Record<string, Tensor>;
  beforeAll(async () => {
    engine = await startEngine(backend);
    model = await CLIPVisionModelWithProjection.fromPretrained(fixturePath('reward-aesthetic/clip'));
    golden = await fixtureTensors('reward-aesthetic/io.safetensors');
  });
  afterAll(() => engine.dispose());

  it('embeds images', async () => {
    const [small] = await engine.compile(embed(model))(model.params, toNHWC(golden['0.images']!));
    expectClose(small!, golden['0.image_embeds']!, 1e-4, 'two of 64 x 64');
    const [large] = await engine.compile(embed(model))(model.params, div(toNHWC(golden['1.images_uint8']!), 255));
    expectClose(large!, golden['1.image_embeds']!, 1e-4, 'one of 256 x 256');
  });

  it('gives each of a batch what it gives it alone, and leaks no tensor', async () => {
    const images = toNHWC(golden['0.images']!);
    const run = engine.compile(embed(model));
    await run(model.params, images);
    await expectNoLeaks(() => run(model.params, images));
    const alone = await Promise.all([0, 1].map(async (i) => (await run(model.params, slice(images, i, 1)))[0]!));
    const [both] = await run(model.params, images);
    expectClose(both!, concat(alone), 1e-5, 'batch');
  });

  it('has the gradient of the pixels by finite differences', () => {
    const config = {
      hidden_size: 8,
      intermediate_size: 12,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      image_size: 6,
      patch_size: 2,
      projection_dim: 5,
    };
    let seed = 0;
    const params = initParams(CLIPVisionModelWithProjection.spec(config), (_, shape) =>
      randomNormal([...shape], 0, 0.5, 'float32', ++seed),
    );
    const tiny = new CLIPVisionModelWithProjection(config, params);
    const pixels = randomNormal([2, 6, 6, 3], 0, 1, 'float32', 99);
    checkGradient((x) => clipVision(tiny.config, tiny.params, x as Tensor4D).imageEmbeds, [pixels]);
  });
});
