import { clipByValue, div, norm, reshape, sub, tensor, type Tensor, type Tensor2D } from '@tensorflow/tfjs-core';
import { linear, mapTensors, resize, type Params } from '@alignprop/autograd-ext';
import { directory, openSafetensors } from '@alignprop/autograd-ext/weights';
import { clipVision, CLIPVisionModelWithProjection } from '@alignprop/diffusion/clip';
import type { RewardFunction } from '@alignprop/rewards';
import { fileURLToPath } from 'node:url';

const MEAN = [0.48145466, 0.4578275, 0.40821073];
const STD = [0.26862954, 0.26130258, 0.27577711];

/** TRL's `aesthetic_scorer`: CLIP's image embedding, normalised, through LAION's head. */
export async function aestheticReward(clip: string): Promise<RewardFunction> {
  const model = await CLIPVisionModelWithProjection.fromPretrained(clip);
  const params = await inMemory(model.params);
  const head = await openSafetensors(directory(fileURLToPath(new URL('.', import.meta.url))), 'laion-aesthetic-head.safetensors');
  const [weight, bias] = await Promise.all(['weight', 'bias'].map(async (name) => {
    const stored = head.tensors.get(name)!;
    return tensor(await stored.read(), [...stored.shape]);
  }));
  return (images) => {
    const pixels = resize(clipByValue(images, 0, 1), [224, 224], { mode: 'bilinear' });
    const embeds = clipVision(model.config, params, div(sub(pixels, MEAN), STD)).imageEmbeds;
    const score = linear(div(embeds, norm(embeds, 2, 1, true)) as Tensor2D, weight as Tensor2D, bias!);
    return reshape(score, [images.shape[0]]);
  };
}

/** A reward runs on tensors: reads all weights. */
async function inMemory(params: Params): Promise<Params> {
  const read: [string, Promise<Tensor>][] = [];
  mapTensors(params, (path, leaf) => {
    if ('read' in leaf) read.push([path, leaf.read().then((values) => tensor(values, [...leaf.shape]))]);
    return leaf;
  });
  const tensors = Object.fromEntries(await Promise.all(read.map(async ([path, value]) => [path, await value] as const)));
  return mapTensors(params, (path, leaf) => tensors[path] ?? leaf);
}
