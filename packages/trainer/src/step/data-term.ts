import { disposeTensors, type TorchGenerator } from '@alignprop/autograd-ext';
import type { AlignPropConfig } from '../config/config.js';
import { DataBatches } from '../data/data-batches.js';
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
 * Creates the data term of a run; undefined without `data_weight`.
 * @throws if there are no data for the weight, or no weight for the data; as `DataBatches`
 */
export function createDataTerm<M>(
  { pipeline, unet, textEncoder }: AlignPropGradient<M>,
  dataset: Dataset | undefined,
  config: AlignPropConfig,
  generator: TorchGenerator,
): DataTerm | undefined {
  const { data_weight: weight } = config;
  if (weight === 0 && dataset) throw new Error('dataset: has no effect with data_weight 0. Set data_weight.');
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
