import { afterAll, beforeAll, describe, it } from 'vitest';
import { concat, div, randomNormal, slice, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Engine } from '@alignprop/autograd-ext';
import { checkGradient, expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixturePath, fixtureTensors, toNHWC } from '../../../../fixtures/index.js';
import { randomParams } from '../models/__fixtures__/weights.js';
import { imageEmbedsFunction } from './__fixtures__/model-functions.js';
import { clipVision, CLIPVisionModelWithProjection } from './vision-model.js';

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

  it('computes the embeddings of transformers', async () => {
    const [small] = await engine.compile(imageEmbedsFunction(model.config))(model.params, toNHWC(golden['0.images']!));
    expectClose(small!, golden['0.image_embeds']!, 1e-4, 'two of 64 x 64');
    const [large] = await engine.compile(imageEmbedsFunction(model.config))(
      model.params,
      div(toNHWC(golden['1.images_uint8']!), 255),
    );
    expectClose(large!, golden['1.image_embeds']!, 1e-4, 'one of 256 x 256');
  });

  it('embeds each image of a batch as it embeds the image alone, and leaks no tensor', async () => {
    const images = toNHWC(golden['0.images']!);
    const run = engine.compile(imageEmbedsFunction(model.config));
    await run(model.params, images);
    await expectNoLeaks(() => run(model.params, images));
    const alone = await Promise.all([0, 1].map(async (i) => (await run(model.params, slice(images, i, 1)))[0]!));
    const [batch] = await run(model.params, images);
    expectClose(batch!, concat(alone), 1e-5, 'batch');
  });

  it('has the gradient of finite differences in the pixels', () => {
    const config = {
      hidden_size: 8,
      intermediate_size: 12,
      num_hidden_layers: 2,
      num_attention_heads: 2,
      image_size: 6,
      patch_size: 2,
      projection_dim: 5,
    };
    const tiny = new CLIPVisionModelWithProjection(config, randomParams(CLIPVisionModelWithProjection.spec(config)));
    const pixels = randomNormal([2, 6, 6, 3], 0, 1, 'float32', 99);
    checkGradient((x) => clipVision(tiny.config, tiny.params, x as Tensor4D).imageEmbeds, [pixels]);
  });
});
