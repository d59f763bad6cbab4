import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  concat,
  expandDims,
  fill,
  mul,
  ones,
  slice,
  tensor,
  tile,
  type Tensor,
  type Tensor2D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { useBackend, type ModelFunction, type StoredTensor } from '@alignprop/autograd-ext';
import { directory, encodeSafetensors, memory, openWeightFile } from '@alignprop/autograd-ext/weights';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { describeOnEngines } from '../__fixtures__/reference.js';
import { tinyImageReward } from '../__fixtures__/tiny-models.js';
import { loadReward } from '../reward.js';
import { clipPixels } from '../clip/clip-pixels.js';
import { blipText, type BlipTextParams } from './blip-text.js';
import { blipVision, type BlipVisionParams } from './blip-vision.js';
import { imageRewardConfig } from './image-reward-config.js';
import { imageReward } from './image-reward.js';

const folder = 'reward-imagereward';
const files = directory(fixturePath(folder));
const options = tinyImageReward;

/** Token ids and attention mask. */
const prompts = (golden: Readonly<Record<string, Tensor>>) =>
  [golden.input_ids!, tensor(Float32Array.from(golden.attention_mask!.dataSync()), [2, 35])] as [Tensor2D, Tensor2D];

describeOnEngines('imageReward', folder, (reference) => {
  it('has the score and the gradient of the reference', async () => {
    const { engine, golden } = reference;
    const { model } = await imageReward({ ...options, load: false });
    const images = toNHWC(golden.images!);
    const { value, inputs } = await engine.compileVjp(model.score, { wrt: [0] })(model.params, [
      images,
      ...prompts(golden),
    ]);
    expectClose(value, golden.score!, 1e-4, 'score');
    expectClose(toNCHW(inputs[0]!), golden.grad_images!, 1e-3, 'grad_images');
    const [alone] = await engine.compile(model.score)(
      model.params,
      ...[images, ...prompts(golden)].map((x) => slice(x, 0, 1)),
    );
    expect(alone!.dataSync()[0]).toBeCloseTo(golden.score!.dataSync()[0]!, 4);
  });

  it("computes the reference's image tokens and text states", async () => {
    const { engine, golden } = reference;
    const { model } = await imageReward({ ...options, load: false });
    const stored = await openWeightFile(files, 'ImageReward_tiny.pt');
    const config = imageRewardConfig(fixtureJson(`${folder}/med_config.json`), stored, {
      heads: options.visionHeads,
    });
    const encode: ModelFunction = (params, images, ids, mask) => {
      const { blip } = params as unknown as {
        blip: { visual_encoder: BlipVisionParams; text_encoder: BlipTextParams };
      };
      const tokens = blipVision(config.vision, blip.visual_encoder, clipPixels(images as Tensor4D, { size: 48 }));
      return [tokens, blipText(config.text, blip.text_encoder, ids as Tensor2D, mask as Tensor2D, tokens)];
    };
    const [ids, mask] = prompts(golden);
    const [tokens, states] = await engine.compile(encode)(model.params, toNHWC(golden.images!), ids, mask);
    expectClose(tokens!, golden.image_embeds!, 1e-4, 'image_embeds');
    const masked = (x: Tensor) => mul(x, expandDims(mask, 2)); // the values at padding are meaningless
    expectClose(masked(states!), masked(golden.text_last_hidden_state!), 1e-4, 'text_last_hidden_state');
  });
});

describe('imageReward', () => {
  let golden: Record<string, Tensor>;
  beforeAll(async () => {
    await useBackend('wasm');
    golden = await fixtureTensors(`${folder}/io.safetensors`);
  });

  it('crops the centre as torchvision does', async () => {
    const reward = await imageReward(options);
    // 48 × 51: one and a half pixels at each side
    const image = slice(toNHWC(tile(golden.images!, [1, 1, 2, 2])), 0, [1, 48, 51, 3]);
    const score = (x: Tensor4D) => reward(x, ['a cat'], [{}]).dataSync()[0]!;
    const middle = (left: number) => score(slice(image, [0, 0, left, 0], [1, 48, 48, 3]));
    expect(score(image)).toBeCloseTo(middle(2), 5);
    expect(Math.abs(middle(1) - middle(2))).toBeGreaterThan(1e-4);
    reward.dispose();
  });

  it('depends on the prompt, but not on its padding', async () => {
    const reward = await imageReward(options);
    const image = toNHWC(slice(golden.images!, 0, 1));
    const images = concat([image, image, image]) as Tensor4D;
    const scores = reward(images, ['a photo of a cat', 'a PHOTO  of a cat', 'a red house'], [{}, {}, {}]).dataSync();
    expect(scores[0]).toBe(scores[1]);
    expect(Math.abs(scores[0]! - scores[2]!)).toBeGreaterThan(1e-3);
    const [ids, mask] = reward.model.inputs!(['a photo of a cat'], [{}]) as [Tensor, Tensor];
    const trimmed = reward.model.score(
      reward.model.params,
      image,
      slice(ids, [0, 0], [1, 7]),
      slice(mask, [0, 0], [1, 7]),
    ) as Tensor;
    expect(trimmed.dataSync()[0]).toBeCloseTo(scores[0]!, 5);
    const unmasked = reward.model.score(reward.model.params, image, ids, ones([1, 35])) as Tensor;
    expect(Math.abs(unmasked.dataSync()[0]! - scores[0]!)).toBeGreaterThan(1e-3);
    reward.dispose();
  });

  it('reads safetensors, and ignores weights that it does not use', async () => {
    const stored = await openWeightFile(files, 'ImageReward_tiny.pt');
    const entry = async ({ shape, read }: StoredTensor) => ({ dtype: 'F32' as const, shape, data: await read() });
    const tensors = await Promise.all([...stored].map(async ([key, tensor]) => [key, await entry(tensor)] as const));
    const unused = ['blip.vision_proj.weight', 'blip.text_proj.bias', 'blip.text_encoder.embeddings.position_ids'];
    const zeros = { dtype: 'F32' as const, shape: [1], data: new Float32Array(1) };
    const bytes = encodeSafetensors(Object.fromEntries([...tensors, ...unused.map((key) => [key, zeros] as const)]));
    const weights = memory({
      'ImageReward.safetensors': bytes,
      'med_config.json': readFileSync(fixturePath(`${folder}/med_config.json`)),
    });
    const image = fill([1, 9, 8, 3], 0.3) as Tensor4D;
    const scores = await Promise.all(
      [options, { ...options, weights }].map(async (variant) => {
        const reward = await imageReward(variant);
        const score = reward(image, ['a cat'], [{}]).dataSync()[0];
        reward.dispose();
        return score;
      }),
    );
    expect(scores[0]).toBe(scores[1]);
  });

  it('lists the files that it looked for', async () => {
    await expect(imageReward({ ...options, weights: memory({}, 'nowhere') })).rejects.toThrow(
      "'nowhere' has no weights. Looked for ImageReward.safetensors, ImageReward.pt.",
    );
  });

  it('leaves its weights in their files if load is false', async () => {
    const reward = await imageReward({ ...options, load: false });
    expect(() => reward(undefined as never, [''], [{}])).toThrow('still in its file');
    (await loadReward(reward)).dispose();
  });

  it('rejects a config, heads and a tokenizer that do not match the weights', async () => {
    const weights = (med: object) =>
      memory({ 'ImageReward.pt': readFileSync(options.weights), 'med_config.json': JSON.stringify(med) });
    await expect(imageReward({ ...options, weights: weights({ hidden_act: 'relu' }) })).rejects.toThrow(
      /hidden_act got "relu"/,
    );
    await expect(imageReward({ ...options, weights: weights({}) })).rejects.toThrow(
      /of another shape: .*blip.text_encoder/,
    );
    await expect(imageReward({ ...options, visionHeads: 5 })).rejects.toThrow(
      "visionHeads got 5, expected a divisor of the image encoder's width 24",
    );
    const long = [
      '[PAD]',
      '[UNK]',
      '[CLS]',
      '[SEP]',
      '[MASK]',
      ...Array.from({ length: 400 }, (_, i) => `word${i}`),
    ].join('\n');
    await expect(imageReward({ ...options, tokenizer: memory({ 'vocab.txt': long }) })).rejects.toThrow(
      "tokenizer got 407 tokens, expected at most the model's 400",
    );
  });

  it('rejects a number of prompts other than that of images', async () => {
    const reward = await imageReward(options);
    expect(() => reward(ones([2, 8, 8, 3]), ['a cat'], [{}])).toThrow('prompts got 1, expected 2');
    reward.dispose();
  });
});
