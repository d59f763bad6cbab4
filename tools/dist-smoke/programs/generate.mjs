// One image with @alignprop/diffusion alone, from the model folder given.
import { StableDiffusionPipeline } from '@alignprop/diffusion';

const pipeline = await StableDiffusionPipeline.fromPretrained(process.argv[2]);
const { images } = await pipeline.generate('crab', { numInferenceSteps: 2, seed: 7 });
const values = await images.data();
if (images.shape.join() !== '1,64,64,3' || !values.every((value) => value >= 0 && value <= 1))
  throw new Error(`images got shape [${images.shape}], expected [1, 64, 64, 3] in [0, 1].`);
console.log(
  `generate: ${images.shape.join(' × ')}, mean ${(values.reduce((a, b) => a + b) / values.length).toFixed(4)}`,
);
