import type { Params, StoredTensor } from '@alignprop/autograd-ext';
import { linear } from '@alignprop/autograd-ext';
import {
  loadParams,
  openWeightFile,
  resolveSource,
  type FileSource,
  type ParamsSpec,
} from '@alignprop/autograd-ext/weights';
import { clipVision, CLIPVisionModelWithProjection } from '@alignprop/diffusion/clip';
import { reshape, tidy, type Tensor, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import { defineReward, loadReward, type ModelReward } from '../reward.js';
import { clipPixels } from './clip-pixels.js';
import { CLIP_L14 } from './clip-score.js';
import { unit } from './image-text-similarity.js';
import { splitLocation } from './split-location.js';

export interface AestheticOptions {
  /** CLIP ViT-L/14: a folder, a hub id, either with `/file` behind it, or a file source. */
  readonly weights?: string | FileSource;
  /** The head: the same; `layers.{0,2,4,6,7}.{weight,bias}` as published, or `weight` and `bias` of one linear map. */
  readonly head?: string | FileSource;
  /** Whether to read the weights now, to call the reward directly. A trainer's engine reads them itself: false. */
  readonly load?: boolean;
}

/**
 * LAION's aesthetic predictor V2 (Schuhmann 2022, `sac+logos+ava1-l14-linearMSE`), as TRL's `AestheticScorer`: a head
 * on CLIP ViT-L/14's image embedding, trained on ratings of 1 to 10. The prompt does not matter.
 *
 * Range: in principle −12.76 … 23.23, since the head is a linear map of a vector of length 1; photographs get 4 to 7,
 * and training easily leaves the ratings' range behind.
 *
 * Weights: `openai/clip-vit-large-patch14` (1.7 GB; OpenAI's code is under the MIT License, the model card names no
 * licence) and the head, `trl-lib/ddpo-aesthetic-predictor` (3.7 MB; Apache License 2.0 as published by its author at
 * christophschuhmann/improved-aesthetic-predictor).
 *
 * Over-optimised: painterly, warm and soft pictures with a blurred background, then the subject goes and one texture is
 * left, the same for every prompt. 10 is no maximum: cap it or watch held-out rewards.
 *
 * Images are resized bilinearly so that the shorter side is 224; of others than squares the middle is taken.
 *
 * @throws if files are missing or do not fit each other
 */
export async function aesthetic({
  weights = CLIP_L14,
  head = 'trl-lib/ddpo-aesthetic-predictor',
  load = true,
}: AestheticOptions = {}): Promise<ModelReward> {
  const { source, file } = splitLocation(weights);
  const model = await CLIPVisionModelWithProjection.fromPretrained(source, { file });
  const { config } = model;
  const reward = defineReward({
    params: { clip: model.params, head: await openHead(head, config.projection_dim) },
    score: (params, images) =>
      tidy(() => {
        const { clip, head } = params as { clip: Params; head: HeadParams };
        const pixels = clipPixels(images as Tensor4D, { size: config.image_size, mode: 'bilinear' });
        return rate(head, unit(clipVision(config, clip, pixels).imageEmbeds));
      }),
  });
  return load ? loadReward(reward) : reward;
}

type LinearParams = { weight: Tensor; bias: Tensor1D };
type HeadParams = LinearParams | { layers: Record<string, LinearParams> };

/** Embeddings of length 1, `[B, D]`, to ratings, `[B]`: linear layers with nothing between them. */
function rate(head: HeadParams, embeds: Tensor): Tensor1D {
  const layers = 'layers' in head ? Object.values(head.layers) : [head]; // integer keys come in their order
  return reshape(
    layers.reduce((x, { weight, bias }) => linear(x, weight, bias), embeds),
    [-1],
  );
}

const headFiles = ['aesthetic-model.pth', 'sac+logos+ava1-l14-linearMSE.pth', 'model.safetensors'];
// Outputs of the published layers by their place, dropouts counted.
const headWidths = { 0: 1024, 2: 128, 4: 64, 6: 16, 7: 1 };

async function openHead(location: string | FileSource, width: number): Promise<Params> {
  const { source, file } = splitLocation(location);
  const folder = await resolveSource(source);
  const weights = await openWeightFile(folder, file ?? (await findHead(folder)));
  return loadParams(headSpec(weights, width), weights, { owner: 'aesthetic', location: folder.location });
}

async function findHead(folder: FileSource): Promise<string> {
  for (const file of headFiles) if (await folder.has(file)) return file;
  throw new Error(
    `aesthetic: '${folder.location}' has no head. Looked for ${headFiles.join(', ')}. Pass the file's path.`,
  );
}

function headSpec(weights: ReadonlyMap<string, StoredTensor>, width: number): ParamsSpec {
  if (weights.has('weight')) return linearSpec(width, 1);
  const widths = [width, ...Object.values(headWidths)];
  return {
    layers: Object.fromEntries(
      Object.keys(headWidths).map((place, i) => [place, linearSpec(widths[i]!, widths[i + 1]!)]),
    ),
  };
}

const linearSpec = (inputs: number, outputs: number) => ({
  weight: { shape: [outputs, inputs] },
  bias: { shape: [outputs] },
});
