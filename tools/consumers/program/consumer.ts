// Compiled, never run: every entry of every package, and values whose types come from tfjs.
import type { Tensor4D } from '@tensorflow/tfjs-core';
import * as ext from '@alignprop/autograd-ext';
import * as testing from '@alignprop/autograd-ext/testing';
import * as weights from '@alignprop/autograd-ext/weights';
import * as outside from '@alignprop/autograd-ext/outside';
import * as diffusion from '@alignprop/diffusion';
import * as clip from '@alignprop/diffusion/clip';
import * as lora from '@alignprop/lora';
import * as rewards from '@alignprop/rewards';
import * as rewardInterface from '@alignprop/rewards/interface';
import * as rewardTesting from '@alignprop/rewards/testing';
import * as trainer from '@alignprop/trainer';
import * as distributed from '@alignprop/trainer/distributed';

export const entries = [
  ext,
  testing,
  weights,
  outside,
  diffusion,
  clip,
  lora,
  rewards,
  rewardInterface,
  rewardTesting,
  trainer,
  distributed,
];

export async function draw(): Promise<Tensor4D> {
  const pipeline = await diffusion.StableDiffusionPipeline.fromPretrained('folder');
  const { images } = await pipeline.generate('crab', { numInferenceSteps: 2, seed: 7, outputType: 'tensor' });
  const scores: ext.Params | undefined = undefined;
  const reward: rewards.RewardFunction = rewards.jpegCompressibility();
  reward(images, ['crab'], [{}]);
  return scores ?? images;
}
