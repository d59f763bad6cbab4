import type { Params, StoredTensor } from '@alignprop/autograd-ext';
import { linear, checkOptions } from '@alignprop/autograd-ext';
import {
  loadParams,
  openWeightFile,
  resolveSource,
  type FileSource,
  type HubAccess,
  type ParamsSpec,
  hubAccessNames,
} from '@alignprop/autograd-ext/weights';
import { clipVision, CLIPVisionModelWithProjection } from '@alignprop/diffusion/clip';
import { reshape, tidy, type Tensor, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import { defineReward, loadReward, type ModelReward } from '../reward.js';
import { clipPixels } from './clip-pixels.js';
import { CLIP_L14 } from './clip-score.js';
import { unit } from './image-text-similarity.js';
import { splitLocation } from './split-location.js';

/** Locations of the weights of `aesthetic`; the options of the hub are used for hub ids. */
export interface AestheticOptions extends HubAccess {
  /** CLIP ViT-L/14: a folder or a hub id, each optionally followed by `/file`, or a file source. */
  readonly weights?: string | FileSource;
  /**
   * The head, located in the same ways. Its keys are `layers.{0,2,4,6,7}.{weight,bias}` as published, or `weight` and
   * `bias` of one linear map.
   */
  readonly head?: string | FileSource;
  /** Whether to read the weights into memory, to call the reward directly. False for an engine, which reads them. */
  readonly load?: boolean;
}

/**
 * LAION's aesthetic predictor V2 (Schuhmann 2022, `sac+logos+ava1-l14-linearMSE`), as TRL's `AestheticScorer`: a head
 * on CLIP ViT-L/14's image embedding, trained on ratings of 1 to 10. Ignores the prompt.
 *
 * Range: −12.76 … 23.23, the bounds of a linear map on unit vectors. Photographs get 4 to 7; training easily exceeds
 * 10.
 *
 * Weights: `openai/clip-vit-large-patch14` (1.7 GB; OpenAI's code is under the MIT License, the model card names no
 * licence) and the head, `trl-lib/ddpo-aesthetic-predictor` (3.7 MB; Apache License 2.0 as published by its author at
 * christophschuhmann/improved-aesthetic-predictor).
 *
 * Over-optimisation: painterly, warm and soft pictures with a blurred background; later the subject disappears, and one
 * texture is left for every prompt. 10 is not a maximum: cap the reward, or watch held-out rewards.
 *
 * Preprocessing: bilinear resize of the shorter side to 224, then the centre crop.
 *
 * @throws if files are missing or do not fit each other
 */
export async function aesthetic({
  weights = CLIP_L14,
  head = 'trl-lib/ddpo-aesthetic-predictor',
  load = true,
  ...access
}: AestheticOptions = {}): Promise<ModelReward> {
  checkOptions('aesthetic', access, ['weights', 'head', 'load', ...hubAccessNames]);
  const { source, file } = splitLocation(weights);
  const model = await CLIPVisionModelWithProjection.fromPretrained(source, { file, ...access });
  const { config } = model;
  const reward = defineReward({
    params: { clip: model.params, head: await openHead(head, config.projection_dim, access) },
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

/** Maps unit embeddings `[B, D]` to ratings `[B]`: linear layers without activations. */
function rate(head: HeadParams, embeds: Tensor): Tensor1D {
  const layers = 'layers' in head ? Object.values(head.layers) : [head]; // JavaScript orders integer keys
  return reshape(
    layers.reduce((x, { weight, bias }) => linear(x, weight, bias), embeds),
    [-1],
  );
}

const headFiles = ['aesthetic-model.pth', 'sac+logos+ava1-l14-linearMSE.pth', 'model.safetensors'];
// The published layers: index in the module list, dropouts included, to number of outputs.
const headWidths = { 0: 1024, 2: 128, 4: 64, 6: 16, 7: 1 };

async function openHead(location: string | FileSource, width: number, access: HubAccess): Promise<Params> {
  const { source, file } = splitLocation(location);
  const folder = await resolveSource(source, access);
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
