import { useBackend, type StoredTensor } from '@alignprop/autograd-ext';
import { CLIPModel, clipTextWithProjection, clipVision } from '@alignprop/diffusion/clip';
import {
  concat,
  exp,
  mul,
  randomUniform,
  slice,
  sum,
  tensor,
  transpose,
  type Scalar,
  type Tensor,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose, fixtureJson, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { describeOnEngines, expectWithin } from '../__fixtures__/reference.js';
import { tinyClip } from '../__fixtures__/tiny-models.js';
import type { RewardModel } from '../reward.js';
import { clipPixelsOfBytes } from './clip-pixels.js';
import { clipScore } from './clip-score.js';
import { unit } from './image-text-similarity.js';
import { pickScore } from './pick-score.js';

const { weights } = tinyClip;
const { prompts, cases } = fixtureJson<{ prompts: string[]; cases: { images: number[] }[] }>(
  'reward-pickscore/case.json',
);
const indices = cases.map((_, i) => i);

describeOnEngines('rewards of the angle between image and prompt', 'reward-pickscore', (reference) => {
  let pick: RewardModel;
  let scale: number;
  beforeAll(async () => {
    ({ model: pick } = await pickScore({ weights, load: false }));
    scale = Math.exp((await (pick.params as { logit_scale: StoredTensor }).logit_scale.read())[0]!);
  });

  const run = (model: RewardModel, images: Tensor) =>
    reference.engine.compileVjp(model.score, { wrt: [0] })(model.params, [
      images,
      ...model.inputs!(prompts.slice(0, images.shape[0]), []),
    ]);

  it.each(indices)('pickScore has the score and the gradient of the reference: case %i', async (i) => {
    const { golden } = reference;
    const { value, inputs } = await run(pick, toNHWC(golden[`${i}.images`]!));
    expectWithin(value, golden[`${i}.pickscore`]!, 1e-4 * scale);
    expectClose(toNCHW(inputs[0]!), golden[`${i}.grad_images`]!, 1e-3, 'gradient');
  });

  it('pickScore tokenises prompts as the reference', () => {
    const { golden } = reference;
    const [ids] = pick.inputs!(prompts, []);
    expect(ids!.shape).toEqual(golden.input_ids!.shape);
    expect([...ids!.dataSync()]).toEqual([...golden.input_ids!.dataSync()]);
  });

  it.each(indices)(
    'the model of pickScore scores bytes as the reference with CLIPImageProcessor: case %i',
    async (i) => {
      const { engine, golden } = reference;
      const { config, params } = await CLIPModel.fromPretrained(weights);
      const images = transpose(golden[`${i}.images_uint8`]!, [0, 2, 3, 1]);
      const [batch, height, width] = images.shape as [number, number, number];
      const pixels = Array.from({ length: batch }, (_, row) =>
        clipPixelsOfBytes(
          { data: Uint8Array.from(slice(images, row, 1).dataSync()), height, width },
          { size: config.vision_config.image_size },
        ),
      );
      const score = engine.compile((weights, x, ids) => {
        const image = unit(clipVision(config.vision_config, weights, x as Tensor4D).imageEmbeds);
        const text = unit(clipTextWithProjection(config.text_config, weights, ids!).textEmbeds);
        return mul(exp((weights as { logit_scale: Scalar }).logit_scale), sum(mul(image, text), 1));
      });
      const [scores] = await score(params, concat(pixels), slice(golden.input_ids!, 0, batch));
      expectWithin(scores!, golden[`${i}.pickscore_pil`]!, 1e-4 * scale);
    },
  );

  it.each([
    ['cosine', 'cosine', 1],
    ['paper', 'clipscore_2.5', 2.5],
    ['percent', 'clipscore_100', 100],
  ] as const)('clipScore in the form %s has the scores of the reference', async (form, output, factor) => {
    const { golden } = reference;
    const { model } = await clipScore({ form, weights, load: false });
    for (const i of indices) {
      const { value } = await run(model, toNHWC(golden[`${i}.images`]!));
      expectWithin(value, golden[`${i}.${output}`]!, 1e-4 * factor);
    }
  });
});

describe('rewards of the angle between image and prompt', () => {
  beforeAll(() => useBackend('wasm'));

  it('pickScore scores the same when it is called directly', async () => {
    const reward = await pickScore({ weights });
    const golden = await fixtureTensors('reward-pickscore/io.safetensors');
    expectWithin(reward(toNHWC(golden['0.images']!), prompts, []), golden['0.pickscore']!, 1e-3);
    reward.dispose();
  });

  it('depend on the prompt, but not on its padding', async () => {
    const reward = await pickScore({ weights, tokenizer: weights });
    const images = randomUniform([2, 30, 50, 3], 0, 1, 'float32', 1) as Tensor4D;
    const [cat, dog] = ['a cat', 'a dog'].map((prompt) => [...reward(images, [prompt, prompt], []).dataSync()]);
    expect(Math.abs(cat![0]! - dog![0]!)).toBeGreaterThan(1e-3);
    const { params, inputs, score } = reward.model;
    const [ids] = inputs!(['a cat', 'a cat'], []);
    const otherIds = tensor(
      ids!.dataSync().map((id) => id || 7),
      ids!.shape,
      'int32',
    ); // it pads with 0
    expect(ids!.dataSync().filter((id) => id === 0).length).toBeGreaterThan(100);
    expect([...(score(params, images, otherIds) as Tensor).dataSync()]).toEqual(cat);
    reward.dispose();
  });

  it('reject a wrong number of prompts, an unknown form, and weights that are not loaded', async () => {
    const reward = await clipScore({ weights });
    const images = randomUniform([2, 8, 8, 3]) as Tensor4D;
    expect(() => reward(images, ['a cat'], [])).toThrow('clipScore: prompts got 1, expected 2, one an image.');
    await expect(clipScore({ weights, form: 'cosines' as 'cosine' })).rejects.toThrow(
      "clipScore: form got 'cosines', expected one of cosine, paper, percent.",
    );
    const unread = await clipScore({ weights, load: false });
    expect(() => unread(images, ['a', 'b'], [])).toThrow('still in its file');
    reward.dispose();
  });
});
