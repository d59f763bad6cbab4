import { concat, dispose, tensor4d, tidy, zeros, type Tensor4D } from '@tensorflow/tfjs-core';
import { fitLinearDecoder, LinearDecoder, type StableDiffusionPipeline } from '@alignprop/diffusion';
import { drawExamples, type AlignPropConfig } from '@alignprop/trainer';
import { isAlignProp, type RunConfig } from '../options/run-config.js';
import type { Output } from '../terminal/output.js';

interface FitJob {
  readonly config: RunConfig;
  readonly prompts: readonly string[];
  /** Loads the model as it is before training, on an engine of its own. */
  readonly loadBefore: () => Promise<StableDiffusionPipeline>;
}

/** Pictures that the decoder is fitted to, and their denoising steps at most. */
const [pictures, maxSteps] = [4, 10];

/** Fits the linear decoder of a run to pictures of the model as it is before training; the same for the same seed. */
export async function fittedDecoder({ config, prompts, loadBefore }: FitJob, output: Output): Promise<LinearDecoder> {
  if (!isAlignProp(config)) throw new Error('--reward-decoder: linear is for AlignProp.');
  const pipeline = await loadBefore();
  const progress = output.progress('Picture of the linear decoder', pictures);
  let latents: Tensor4D | undefined;
  try {
    const sampling = { ...config, sample_num_steps: Math.min(maxSteps, config.sample_num_steps) };
    const onPicture = (drawn: number) => progress.update(drawn);
    const options = { config: sampling, prompts, count: pictures, seed: config.seed, onPicture };
    const examples = await drawExamples(pipeline, options);
    const [, ...shape] = latentShape(pipeline, config);
    latents = tidy(() => concat(examples.map((example) => tensor4d(example.latents!, [1, ...shape]))));
    const { decoder, explained } = await fitLinearDecoder(pipeline, latents);
    output.info(
      `The linear decoder explains ${(100 * explained).toFixed(1)} % of the variance of ${pictures} pictures ` +
        'that the model drew, a pixel for each latent.',
    );
    return decoder;
  } finally {
    progress.stop();
    dispose(latents ?? []);
    pipeline.dispose(); // its engine is its own
  }
}

/** A decoder without values, for a dry run. */
export function blankDecoder({ vae }: StableDiffusionPipeline): LinearDecoder {
  const { latent_channels: channels } = vae.config;
  return new LinearDecoder({ latent_channels: channels }, { weight: zeros([3, channels]), bias: zeros([3]) });
}

const latentShape = (pipeline: StableDiffusionPipeline, { height, width }: AlignPropConfig) =>
  pipeline.latentShape({ batch: 1, height: height ?? undefined, width: width ?? undefined });
