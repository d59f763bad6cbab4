// Runs in a browser: draws an image with the model that the server provides, and posts its reward and pixels.
import { memory } from '@alignprop/autograd-ext/weights';
import { StableDiffusionPipeline, toUint8 } from '@alignprop/diffusion';
import { jpegCompressibility } from '@alignprop/rewards';
import { drawing } from './drawing.js';
import { checkImage } from './image-checks.js';

async function main(): Promise<Float32Array<ArrayBuffer>> {
  const paths = (await (await fetch('/model.json')).json()) as string[];
  const contents = await Promise.all(
    paths.map(async (path) => [path, new Uint8Array(await (await fetch(`/model/${path}`)).arrayBuffer())] as const),
  );
  const pipeline = await StableDiffusionPipeline.fromPretrained(memory(Object.fromEntries(contents)));
  const { images } = await pipeline.generate(drawing.prompt, { ...drawing.options, outputType: 'tensor' });
  const rewards = jpegCompressibility()(images, [drawing.prompt], []);
  const [image] = await pipeline.generate({ prompt: drawing.prompt, ...drawing.options });
  await checkImage(image, (await toUint8(images))[0]!);
  return Float32Array.of(...(await rewards.data()), ...(await images.data()));
}

main().then(
  (values) => fetch('/result', { method: 'POST', body: values }),
  (error: unknown) => fetch('/error', { method: 'POST', body: String((error as Error).stack ?? error) }),
);
