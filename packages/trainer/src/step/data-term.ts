import { disposeTensors, type TorchGenerator } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { AlignPropConfig } from '../config/config.js';
import { DataBatches } from '../data/data-batches.js';
import { ExampleDraws } from '../data/example-draws.js';
import type { Dataset } from '../data/examples.js';
import type { AlignPropGradient } from '../gradient/alignprop-gradient.js';
import { DiffusionLoss, type DiffusionLossGradients } from '../gradient/diffusion-loss.js';

/** The diffusion loss of pictures with captions, in the loss of each micro-batch with a weight. */
export class DataTerm {
  constructor(
    readonly batches: DataBatches,
    readonly loss: DiffusionLoss,
    readonly weight: number,
  ) {}

  /**
   * Draws a batch and computes the gradients of lossScale · weight · loss, which belong to the caller.
   * @throws NonFiniteError if the loss is not finite; nothing stays allocated then
   */
  async gradients(lossScale: number): Promise<DiffusionLossGradients> {
    const pictures = await this.batches.draw();
    try {
      return await this.loss.gradients(pictures, lossScale * this.weight);
    } finally {
      disposeTensors(pictures);
    }
  }
}

/**
 * The images that the estimator of a run starts from; undefined unless `estimator_images` is 'dataset'.
 * @throws if there are none; as `ExampleDraws`
 */
export function givenImages(
  pipeline: StableDiffusionPipeline,
  dataset: Dataset | undefined,
  config: AlignPropConfig,
  generator: TorchGenerator,
): ExampleDraws | undefined {
  if (config.estimator_images !== 'dataset') return undefined;
  if (!dataset)
    throw new Error("estimator_images: got 'dataset' without data. Pass dataset: pictures with captions (--data-dir).");
  return new ExampleDraws(pipeline, dataset, config, generator);
}

/**
 * Creates the data term of a run; undefined without `data_weight`.
 * @throws if there are no data for the weight, or no weight for the data; as `DataBatches`
 */
export function createDataTerm<M>(
  { pipeline, unet, textEncoder }: AlignPropGradient<M>,
  dataset: Dataset | undefined,
  config: AlignPropConfig,
  generator: TorchGenerator,
): DataTerm | undefined {
  const { data_weight: weight, estimator_images: images } = config;
  if (weight === 0 && images !== 'dataset' && dataset)
    throw new Error("dataset: has no effect with data_weight 0. Set data_weight, or estimator_images to 'dataset'.");
  if (weight === 0) return undefined;
  if (!dataset)
    throw new Error(
      `data_weight: got ${weight} without data. Pass dataset: pictures with captions, or what priorExamples draws ` +
        '(--data-dir, --prior-images).',
    );
  return new DataTerm(
    new DataBatches(pipeline, dataset, config, generator),
    new DiffusionLoss(unet, textEncoder),
    weight,
  );
}
