// One image with @alignprop/diffusion alone, from the model folder given: its file and its pixels as a tensor.
import { Buffer } from 'node:buffer';
import { readFile, rm } from 'node:fs/promises';
import { decodePng, StableDiffusionPipeline } from '@alignprop/diffusion';

const pipeline = await StableDiffusionPipeline.fromPretrained(process.argv[2]);
const options = { prompt: 'crab', num_inference_steps: 2, seed: 7 };
const [image] = await pipeline.generate(options);
await image.save('crab.png');
const { data, text } = decodePng(await readFile('crab.png'));
await rm('crab.png');
if (Buffer.compare(data, await image.toUint8()) !== 0 || !text.parameters.startsWith('crab\nSteps: 2,'))
  throw new Error(`crab.png has other pixels than the image, or other settings: ${text.parameters}`);
const { images } = await pipeline.generate({ ...options, outputType: 'tensor' });
const values = await images.data();
if (images.shape.join() !== '1,64,64,3' || !values.every((value) => value >= 0 && value <= 1))
  throw new Error(`images got shape [${images.shape}], expected [1, 64, 64, 3] in [0, 1].`);
console.log(
  `generate: ${images.shape.join(' × ')}, mean ${(values.reduce((a, b) => a + b) / values.length).toFixed(4)}`,
);
