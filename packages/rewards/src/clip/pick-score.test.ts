import { useBackend, type Engine, type StoredTensor } from '@alignprop/autograd-ext';
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
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import type { RewardModel } from '../reward.js';
import { testReward } from '../testing/test-reward.js';
import { clipPixelsOfBytes } from './clip-pixels.js';
import { clipScore } from './clip-score.js';
import { unit } from './image-text-similarity.js';
import { pickScore } from './pick-score.js';

const weights = fixturePath('reward-pickscore/clip');
const { prompts, cases } = fixtureJson<{ prompts: string[]; cases: { images: number[] }[] }>(
  'reward-pickscore/case.json',
);
const indices = cases.map((_, i) => i);

describe.each(engineNames)('rewards of the angle between image and prompt on %s', (name) => {
  let golden: Record<string, Tensor>;
  let engine: Engine;
  let pick: RewardModel;
  let scale: number;
  beforeAll(async () => {
    engine = await startEngine(name);
    golden = await fixtureTensors('reward-pickscore/io.safetensors');
    ({ model: pick } = await pickScore({ weights, load: false }));
    scale = Math.exp((await (pick.params as { logit_scale: StoredTensor }).logit_scale.read())[0]!);
  });
  afterAll(() => engine.dispose());

  const run = (model: RewardModel, images: Tensor) =>
    engine.compileVjp(model.score, { wrt: [0] })(model.params, [
      images,
      ...model.inputs!(prompts.slice(0, images.shape[0]), []),
    ]);

  it.each(indices)('pickScore scores as PickScore, with its gradient: case %i', async (i) => {
    const { value, inputs } = await run(pick, toNHWC(golden[`${i}.images`]!));
    expectWithin(value, golden[`${i}.pickscore`]!, 1e-4 * scale);
    expectClose(toNCHW(inputs[0]!), golden[`${i}.grad_images`]!, 1e-3, 'gradient');
  });

  it('tokenises prompts as the reference', () => {
    const [ids] = pick.inputs!(prompts, []);
    expect(ids!.shape).toEqual(golden.input_ids!.shape);
    expect([...ids!.dataSync()]).toEqual([...golden.input_ids!.dataSync()]);
  });

  it.each(indices)('its model scores bytes as PickScore with CLIPImageProcessor: case %i', async (i) => {
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
  });

  it.each([
    ['cosine', 'cosine', 1],
    ['paper', 'clipscore_2.5', 2.5],
    ['percent', 'clipscore_100', 100],
  ] as const)('clipScore in the form %s', async (form, output, factor) => {
    const { model } = await clipScore({ form, weights, load: false });
    for (const i of indices) {
      const { value } = await run(model, toNHWC(golden[`${i}.images`]!));
      expectWithin(value, golden[`${i}.${output}`]!, 1e-4 * factor);
    }
  });
});

const expectWithin = (actual: Tensor, expected: Tensor, tolerance: number) => {
  expect(actual.shape).toEqual(expected.shape);
  actual
    .dataSync()
    .forEach((value, i) => expect(Math.abs(value - expected.dataSync()[i]!)).toBeLessThanOrEqual(tolerance));
};

describe('rewards of the angle between image and prompt', () => {
  beforeAll(() => useBackend('wasm'));

  it('pickScore keeps the promises of a reward, and scores the same when called', async () => {
    const reward = await pickScore({ weights });
    const golden = await fixtureTensors('reward-pickscore/io.safetensors');
    expectWithin(reward(toNHWC(golden['0.images']!), prompts, []), golden['0.pickscore']!, 1e-3);
    await testReward(reward, { range: [-100, 100], scale: 1, entries: 24 });
    reward.dispose();
  });

  it.each([
    ['cosine', [-1, 1]],
    ['paper', [0, 2.5]],
    ['percent', [0, 100]],
  ] as const)('clipScore in the form %s keeps the promises of a reward', async (form, range) => {
    const reward = await clipScore({ weights, form });
    await testReward(reward, { range, entries: 24 });
    reward.dispose();
  });

  it('depend on the prompt, and not on what fills it up', async () => {
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

  it('say what is wrong', async () => {
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
