import { modelKind, type StableDiffusionPipeline } from '@alignprop/diffusion';

/**
 * Checks that the diffusion loss is the loss of a model.
 * @param name begins the message
 * @throws for a few-step model, which this loss would train back to a model of many steps
 */
export function checkDataModel(name: string, pipeline: StableDiffusionPipeline): void {
  const { isFewStep, name: kind } = modelKind(pipeline);
  if (isFewStep)
    throw new Error(
      `${name}: got ${kind}, expected a model of many steps: the diffusion loss would undo its distillation. ` +
        'Set data_weight to 0, and kl_weight to keep it near the model that training starts from.',
    );
}
