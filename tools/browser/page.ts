// Runs in a browser: draws an image with the model that the server provides, and posts its reward and pixels.
import { StableDiffusionPipeline, toUint8 } from '@alignprop/diffusion';
import { jpegCompressibility } from '@alignprop/rewards';
import { drawing } from './drawing.js';
import { fetchModel, report } from './fetched-model.js';
import { checkImage } from './image-checks.js';

async function main(): Promise<Float32Array<ArrayBuffer>> {
  const pipeline = await StableDiffusionPipeline.fromPretrained(await fetchModel());
  const { images } = await pipeline.generate(drawing.prompt, { ...drawing.options, outputType: 'tensor' });
  const rewards = jpegCompressibility()(images, [drawing.prompt], []);
  const [image] = await pipeline.generate({ prompt: drawing.prompt, ...drawing.options });
  await checkImage(image, (await toUint8(images))[0]!);
  return Float32Array.of(...(await rewards.data()), ...(await images.data()));
}

void report(main());
