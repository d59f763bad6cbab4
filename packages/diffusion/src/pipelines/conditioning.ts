import {
  clone,
  concat,
  dispose,
  scalar,
  tensor1d,
  type Scalar,
  type Tensor,
  type Tensor2D,
  type Tensor3D,
} from '@tensorflow/tfjs-core';
import { timestepEmbedding } from '../models/embeddings.js';
import type { UNet2DConditionConfig } from '../models/unet-2d-condition.js';
import type { Scheduler, Step } from '../schedulers/scheduler.js';

/** The outputs of the text encoders for a batch of prompts. */
export interface PromptEncoding {
  /** `[B, L, D]` */
  readonly promptEmbeds: Tensor3D;
  /** The pooled output of SDXL's second text encoder, `[B, P]`. */
  readonly pooledPromptEmbeds?: Tensor2D;
}

/** The inputs of a UNet besides latents and time, one row per image, under diffusers' names. */
export interface Conditioning extends PromptEncoding {
  /** `[B, L, D]`; required with guidance. */
  readonly negativePromptEmbeds?: Tensor3D;
  /** `[B, P]`; required with guidance by SDXL. */
  readonly negativePooledPromptEmbeds?: Tensor2D;
  /** SDXL's sizes, `[B, 6]`; see `StableDiffusionPipeline.timeIds`. */
  readonly timeIds?: Tensor2D;
  /** The same for the negative prompt; `timeIds` by default. */
  readonly negativeTimeIds?: Tensor2D;
}

/** The conditioning as a compiled guided prediction takes it. The tensors belong to the caller. */
export interface GuidedInputs {
  /** `[2B, L, D]` with guidance, the negative prompts first; else `[B, L, D]`. */
  readonly embeds: Tensor3D;
  readonly guidanceScale: Scalar;
  /** See `addedConditions`; as many rows as `embeds`. */
  readonly added: readonly Tensor[];
}

/** The guidance of a chain by its prompts. */
export interface ChainGuidance {
  /** The steps of the whole chain, also where fewer are run. */
  readonly numInferenceSteps: number;
  /** w of u + w (c - u); at 1 and below there is no guidance. */
  readonly guidanceScale: number;
  /**
   * The part of the chain that is guided, as fractions of its model calls in [0, 1]: call i of T is if
   * floor(first · T) <= i < floor(end · T). The others take the prediction for the prompt alone, at half the cost.
   * The whole chain by default.
   */
  readonly guidanceInterval?: GuidanceInterval;
}

export type GuidanceInterval = readonly [first: number, end: number];

type GuidanceConfig = Pick<UNet2DConditionConfig, 'time_cond_proj_dim' | 'addition_embed_type'>;

/**
 * Whether a UNet is called for the negative prompt as well. Latent consistency models take the guidance scale as an
 * input instead.
 */
export const usesGuidance = ({ time_cond_proj_dim }: GuidanceConfig, guidanceScale: number): boolean =>
  guidanceScale > 1 && time_cond_proj_dim === null;

/**
 * Stacks the conditioning for the guided UNet.
 * @throws if something is missing that the UNet needs
 */
export function guidedInputs(config: GuidanceConfig, conditioning: Conditioning, guidanceScale: number): GuidedInputs {
  const guided = usesGuidance(config, guidanceScale);
  checkConditioning(config, conditioning, guided, guidanceScale);
  const { promptEmbeds, pooledPromptEmbeds, timeIds } = conditioning;
  const stack = <T extends Tensor>(negative: T | undefined, positive: T): T =>
    guided ? (concat([negative!, positive]) as T) : clone(positive);
  const sizes = config.addition_embed_type !== null && {
    pooled: stack(conditioning.negativePooledPromptEmbeds, pooledPromptEmbeds!),
    timeIds: stack(conditioning.negativeTimeIds ?? timeIds, timeIds!),
  };
  const width = config.time_cond_proj_dim;
  return {
    embeds: stack(conditioning.negativePromptEmbeds, promptEmbeds),
    guidanceScale: scalar(guidanceScale),
    added: [
      ...(sizes ? [sizes.pooled, sizes.timeIds] : []),
      ...(width === null ? [] : [guidanceEmbedding(guidanceScale, promptEmbeds.shape[0], width)]),
    ],
  };
}

/** The conditioning of a whole chain: inside the interval of its guidance, and outside. It owns its tensors. */
export class ChainInputs {
  /** The conditioning inside the interval. */
  readonly guided: GuidedInputs;
  readonly #conditional: GuidedInputs | undefined;
  readonly #bounds: readonly [first: number, end: number] = [0, Infinity];

  /** @throws if something is missing that the UNet needs */
  constructor(config: GuidanceConfig, scheduler: Scheduler, options: Conditioning & ChainGuidance) {
    const { guidanceScale, guidanceInterval, numInferenceSteps } = options;
    this.guided = guidedInputs(config, options, guidanceScale);
    if (!guidanceInterval || !usesGuidance(config, guidanceScale)) return;
    this.#conditional = guidedInputs(config, options, 1);
    const calls = scheduler.timesteps(numInferenceSteps).length;
    this.#bounds = [Math.floor(guidanceInterval[0] * calls), Math.floor(guidanceInterval[1] * calls)];
  }

  /** Returns the conditioning of a call; it stays the chain's. */
  at(step: Step): GuidedInputs {
    return this.#conditional && !this.isGuided(step) ? this.#conditional : this.guided;
  }

  /** Whether a call is inside the interval. */
  isGuided({ index }: Step): boolean {
    return index >= this.#bounds[0] && index < this.#bounds[1];
  }

  dispose(): void {
    for (const inputs of [this.guided, this.#conditional]) if (inputs) disposeInputs(inputs);
  }
}

/** Frees the tensors of the inputs of a prediction. */
export const disposeInputs = ({ embeds, guidanceScale, added }: GuidedInputs): void =>
  dispose([embeds, guidanceScale, ...added]);

/** @throws if the interval is not one in [0, 1] */
export function checkInterval(interval: GuidanceInterval | undefined): void {
  if (!interval) return;
  const [first, end] = interval;
  if (first >= 0 && first <= end && end <= 1) return;
  throw new Error(
    `guidanceInterval: got [${interval.join(', ')}], expected two fractions of the chain with ` +
      '0 <= first <= end <= 1. Try [0.2, 0.8].',
  );
}

/**
 * Lists the inputs of the guided prediction at a step after the latents: timestep, embeddings, guidance scale, and the
 * scale of the latents where it is not 1 or conditions follow it. The caller disposes `created` after the call.
 */
export function predictionInputs(
  { embeds, guidanceScale, added }: GuidedInputs,
  scheduler: Scheduler,
  step: Step,
): { readonly inputs: readonly Tensor[]; readonly created: Tensor[] } {
  const inputScale = scheduler.inputScale(step);
  const timestep = tensor1d([step.t]);
  const scaled = inputScale === 1 && added.length === 0 ? [] : [scalar(inputScale)];
  return { inputs: [timestep, embeds, guidanceScale, ...scaled, ...added], created: [timestep, ...scaled] };
}

/** diffusers' `get_guidance_scale_embedding` (arXiv 2310.04378, §4.3): sinusoids of 1000 (w - 1), `[B, width]`. */
function guidanceEmbedding(guidanceScale: number, batch: number, width: number): Tensor2D {
  const scales = tensor1d(new Array<number>(batch).fill((guidanceScale - 1) * 1000));
  const embedding = timestepEmbedding(scales, { channels: width, flipSinToCos: false, freqShift: 1 });
  scales.dispose();
  return embedding;
}

function checkConditioning(
  { addition_embed_type }: GuidanceConfig,
  conditioning: Conditioning,
  guided: boolean,
  guidanceScale: number,
): void {
  const isXL = addition_embed_type !== null;
  const needed: (keyof Conditioning)[] = [
    ...(guided ? (['negativePromptEmbeds'] as const) : []),
    ...(isXL ? (['pooledPromptEmbeds', 'timeIds'] as const) : []),
    ...(isXL && guided ? (['negativePooledPromptEmbeds'] as const) : []),
  ];
  const missing = needed.filter((name) => conditioning[name] === undefined);
  if (missing.length === 0) {
    if (guided) checkShapes(conditioning);
    return;
  }
  throw new Error(
    `denoise: guidanceScale got ${guidanceScale} without ${missing.join(' and ')}. ` +
      "Pass what encodePrompt and timeIds return, for the negative prompt too ('' for none).",
  );
}

/** @throws if prompts and negative prompts are not encoded alike */
function checkShapes({ promptEmbeds: { shape }, negativePromptEmbeds }: Conditioning): void {
  const { shape: negative } = negativePromptEmbeds!;
  if (`${negative}` === `${shape}`) return;
  throw new Error(
    `denoise: negativePromptEmbeds got [${negative.join(', ')}], expected [${shape.join(', ')}], the shape of ` +
      'promptEmbeds. Encode both with the same text encoders, in as many chunks.',
  );
}
