// Draws an image, scores it, and takes one training step: each bundler bundles this, and each runtime runs it. tfjs
// computes it, so that all results are equal.
import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import { loraModules } from '@alignprop/lora';
import { jpegCompressibility } from '@alignprop/rewards';
import { AlignPropTrainer } from '@alignprop/trainer';

/** @param model a folder, or a file source */
export async function drawAndTrain(model) {
  await useBackend('wasm');
  const pipeline = await StableDiffusionPipeline.fromPretrained(model, { engine: new TfjsEngine() });
  const { images } = await pipeline.generate('crab', { numInferenceSteps: 2, seed: 7, outputType: 'tensor' });
  const [score] = await jpegCompressibility()(images, ['crab'], [{}]).data();
  const trainer = new AlignPropTrainer({
    config: {
      seed: 3,
      numEpochs: 1,
      sampleNumSteps: 2,
      trainBatchSize: 1,
      trainGradientAccumulationSteps: 1,
      truncatedRandBackpropMinmax: [1, 1],
    },
    pipeline,
    promptFunction: () => 'crab',
    rewardFunction: jpegCompressibility(),
  });
  const results = [score, [...(await images.data())].reduce((sum, value) => sum + value) / images.size];
  for await (const { rewardMean, loss, gradNorm } of trainer.train()) results.push(rewardMean, loss, gradNorm);
  return [...results, Object.keys(loraModules(trainer.pipeline.unet.params)).length];
}
