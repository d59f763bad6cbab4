import { fileURLToPath } from 'node:url';
import { fixtureJson, fixturePath } from '../../../../fixtures/index.js';
import type { GraphModelOptions } from '../graph-model/graph-model.js';
import { fitInput } from '../graph-model/fit-input.js';

// Small models for tests, as options of the rewards that read them. Those in fixtures/ have random weights.

export const tinyAesthetic = {
  weights: fixturePath('reward-aesthetic/clip'),
  head: fixturePath('reward-aesthetic/sac+logos+ava1-l14-linearMSE.pth'),
};
export const tinyClip = { weights: fixturePath('reward-pickscore/clip') };
export const tinyHps = {
  weights: fixturePath('reward-hpsv2'),
  tokenizer: fixturePath('reward-hpsv2/tokenizer'),
};
export const tinyImageReward = {
  weights: fixturePath('reward-imagereward/ImageReward_tiny.pt'),
  tokenizer: fixturePath('reward-imagereward'),
  visionHeads: fixtureJson<{ vision: { num_attention_heads: number } }>('reward-imagereward/case.json').vision
    .num_attention_heads,
};
export const tinyDetector = {
  target: fixtureJson<{ target: string }>('reward-object-detection/case.json').target,
  weights: fixturePath('reward-object-detection/plain'),
};

const humanModels = fileURLToPath(new URL('../../../../node_modules/@vladmandic/human/models/', import.meta.url));
/** A file of a GraphModel in `@vladmandic/human`. */
export const humanModel = (file: string): string => `${humanModels}${file}`;
/** P(happy) of a face, by the emotion classifier of `@vladmandic/human`. */
export const emotion: GraphModelOptions = {
  model: humanModel('emotion.json'),
  transform: fitInput({ range: [-1, 1] }),
  score: [0, 0, 0, 1, 0, 0, 0],
};
/** The node before its softmax. The softmax of noise is close to one class, where the gradient vanishes. */
export const emotionLogits = 'StatefulPartitionedCall/model_1/global_average_pooling2d_1/Mean';
