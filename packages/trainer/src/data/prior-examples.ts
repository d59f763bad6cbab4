import { random } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { AlignPropConfig } from '../config/config.js';
import { samplingOptions } from '../gradient/walk-down.js';
import { chainScheduler, type ChainConfig } from '../model/chain-scheduler.js';
import { imageSize } from '../model/image-size.js';
import { checkDataModel } from './check-data-model.js';
import type { DataExample } from './examples.js';

export interface PriorOptions {
  /** A complete configuration: pictures are drawn as in training, with its scheduler, steps, guidance and size. */
  config: ChainConfig &
    Pick<
      AlignPropConfig,
      'sample_guidance_scale' | 'sample_eta' | 'negative_prompts' | 'clip_skip' | 'long_prompts' | 'height' | 'width'
    >;
  /** The captions, which the pictures take in turn. */
  prompts: readonly string[];
  /** The number of pictures. */
  count: number;
  /** The seed of their noise; 0 by default. */
  seed?: number;
  /** Called after each picture with the number of those drawn. */
  onPicture?: (drawn: number) => void;
  signal?: AbortSignal;
}

/**
 * Draws pictures with a model before it is trained, as a dataset that keeps it near what it was: prior preservation
 * (DreamBooth, arXiv 2208.12242, §3.2). The same model and options give the same pictures.
 * @throws if there are no prompts, or for a few-step model; the reason of an aborted signal
 */
export async function priorExamples(pipeline: StableDiffusionPipeline, options: PriorOptions): Promise<DataExample[]> {
  checkDataModel('priorExamples', pipeline.with({ scheduler: chainScheduler(pipeline, options.config) }));
  return drawExamples(pipeline, options);
}

/** Draws pictures of any model as `priorExamples` does. @throws if there are no prompts; the reason of a signal */
export async function drawExamples(
  pipeline: StableDiffusionPipeline,
  { config, prompts, count, seed = 0, onPicture, signal }: PriorOptions,
): Promise<DataExample[]> {
  if (prompts.length === 0) throw new Error('priorExamples: prompts got none, expected at least one.');
  const drawing = pipeline.with({ scheduler: chainScheduler(pipeline, config) });
  const negatives = [config.negative_prompts ?? undefined].flat();
  const generator = random(seed);
  const examples: DataExample[] = [];
  for (let i = 0; i < count; i++) {
    const caption = prompts[i % prompts.length]!;
    const { images, latents } = await drawing.generate(caption, {
      ...samplingOptions(config),
      ...imageSize(config),
      clipSkip: config.clip_skip,
      longPrompts: config.long_prompts,
      negativePrompt: negatives[i % negatives.length],
      outputType: 'tensor',
      generator,
      signal,
    });
    images.dispose();
    examples.push({ caption, latents: await latents.data<'float32'>() });
    latents.dispose();
    onPicture?.(i + 1);
  }
  return examples;
}
