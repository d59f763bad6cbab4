import { resolveSource, type FileSource, type HubAccess } from '@alignprop/autograd-ext/weights';
import {
  CLIPModel,
  clipTextWithProjection,
  CLIPTokenizer,
  clipVision,
  type ClipArchitecture,
  type CLIPModelParams,
} from '@alignprop/diffusion/clip';
import {
  div,
  mul,
  sqrt,
  square,
  sum,
  tensor2d,
  tidy,
  type Tensor,
  type Tensor1D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { defineReward, loadReward, type ModelReward } from '../reward.js';
import { clipPixels } from './clip-pixels.js';
import { splitLocation } from './split-location.js';

/** Locations of the CLIP model and tokenizer of a reward; the options of the hub are used for hub ids. */
export interface ClipRewardOptions extends HubAccess {
  /** A folder or a hub id, each optionally followed by `/file`, or a file source. */
  readonly weights?: string | FileSource;
  /**
   * The tokenizer's folder, hub id or file source. By default the one beside the weights, or else that of the original
   * model.
   */
  readonly tokenizer?: string | FileSource;
  /** Whether to read the weights into memory, to call the reward directly. False for an engine, which reads them. */
  readonly load?: boolean;
}

/** The differences between the rewards that compare image and prompt by CLIP. */
export interface SimilarityDefinition {
  /** The reward's name in messages. */
  readonly owner: string;
  readonly weights: string | FileSource;
  /** A file name that takes precedence over the usual ones where `weights` has it. */
  readonly file?: string;
  readonly architecture?: ClipArchitecture;
  readonly tokenizer: string | FileSource | undefined;
  readonly defaultTokenizer: string;
  /** The padding token; by default the tokenizer's. Scores do not depend on it. */
  readonly padTokenId?: number;
  readonly mode: 'bilinear' | 'bicubic';
  /** Computes the score from the cosine of image and text, `[B]`. */
  score(cosine: Tensor1D, params: CLIPModelParams): Tensor1D;
  readonly load: boolean;
  readonly access: HubAccess;
}

/** Creates a reward that is a function of the cosine between the CLIP embeddings of an image and its prompt. */
export async function imageTextSimilarity(definition: SimilarityDefinition): Promise<ModelReward> {
  const { owner, mode, padTokenId, load, access } = definition;
  const { folder, file } = await openLocation(definition);
  const [model, tokenizer] = await Promise.all([
    CLIPModel.fromPretrained(folder, { file, architecture: definition.architecture, signal: access.signal }),
    openTokenizer(folder, definition),
  ]);
  const { text_config: text, vision_config: vision } = model.config;
  const reward = defineReward({
    params: model.params,
    inputs: (prompts) => {
      const { inputIds, shape } = tokenizer.encode(prompts, { maxLength: text.max_position_embeddings, padTokenId });
      return [tensor2d(inputIds, shape, 'int32')];
    },
    score: (params, images, ids) =>
      tidy(() => {
        checkBatch(owner, images as Tensor4D, ids!);
        const pixels = clipPixels(images as Tensor4D, { size: vision.image_size, mode });
        const cosine = cosines(
          clipVision(vision, params, pixels).imageEmbeds,
          clipTextWithProjection(text, params, ids!).textEmbeds,
        );
        return definition.score(cosine, params as unknown as CLIPModelParams);
      }),
  });
  return load ? loadReward(reward) : reward;
}

async function openLocation({
  weights,
  file: preferred,
  access,
}: SimilarityDefinition): Promise<{ folder: FileSource; file?: string }> {
  const { source, file } = splitLocation(weights);
  const folder = await resolveSource(source, access);
  if (file !== undefined || preferred === undefined) return { folder, file };
  return { folder, file: (await folder.has(preferred)) ? preferred : undefined };
}

async function openTokenizer(
  folder: FileSource,
  { tokenizer, defaultTokenizer, access }: SimilarityDefinition,
): Promise<CLIPTokenizer> {
  if (tokenizer !== undefined) return CLIPTokenizer.fromPretrained(tokenizer, access);
  const isThere = (await folder.has('vocab.json')) || (await folder.has('tokenizer.json'));
  return CLIPTokenizer.fromPretrained(isThere ? folder : defaultTokenizer, access);
}

/** The cosines `[B]` between the rows of two matrices `[B, D]`. */
const cosines = (a: Tensor, b: Tensor) => sum(mul(unit(a), unit(b)), 1) as Tensor1D;

/** Scales rows to length 1. */
export const unit = (x: Tensor): Tensor => div(x, sqrt(sum(square(x), 1, true)));

function checkBatch(owner: string, images: Tensor4D, ids: Tensor): void {
  if (images.shape[0] !== ids.shape[0])
    throw new Error(`${owner}: prompts got ${ids.shape[0]}, expected ${images.shape[0]}, one an image.`);
}
