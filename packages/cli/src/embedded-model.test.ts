import { dispose, losses, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { OnnxRuntimeEngine, useBackend } from '@alignprop/autograd-ext';
import { AutoencoderTiny, schedulerFor, StableDiffusionPipeline } from '@alignprop/diffusion';
import { applyLora, loraTensors, openLora } from '@alignprop/lora';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { embeddedAdapter, embeddedDecoder, embeddedModel } from './embedded-model.js';
import { collectLora } from './options/lora-options.js';
import { decoderLocation } from './options/reward-decoder.js';

const engine = new OnnxRuntimeEngine();
let model: StableDiffusionPipeline;
/** Pictures that the model draws in 20 steps with guidance. */
let drawn: { images: Tensor4D; latents: Tensor4D };

const prompts = ['crab', 'red apple'];
const guided = { numInferenceSteps: 20, guidanceScale: 4, seed: 3, outputType: 'tensor' } as const;
const unguided = { ...guided, numInferenceSteps: 4, guidanceScale: 1 } as const;

beforeAll(async () => {
  await useBackend('wasm');
  const base = await StableDiffusionPipeline.fromPretrained(embeddedModel.path, { engine });
  model = base.with({ scheduler: schedulerFor('tcd', base.scheduler.config) });
  drawn = await model.generate(prompts, guided);
});
afterAll(() => {
  dispose([drawn.images, drawn.latents]);
  engine.dispose();
});

/** The mean squared difference. */
function error(actual: Tensor, expected: Tensor): number {
  const mean = losses.meanSquaredError(expected, actual);
  const value = mean.dataSync()[0]!;
  mean.dispose();
  return value;
}

describe('what ships beside the embedded model', () => {
  it('is an adapter that draws in four steps what the model draws in twenty', async () => {
    const [{ source }] = collectLora(embeddedAdapter.name) as [{ source: string }];
    const { components } = await openLora(source);
    const params = await applyLora(model.unet.params, components.unet!);
    const adapted = model.with({ unet: model.unet.withParams(params) });
    const few = await adapted.generate(prompts, unguided);
    const own = await model.generate(prompts, unguided);
    const [distance, ownDistance] = [few, own].map(({ images }) => error(images, drawn.images));
    expect(distance).toBeLessThan(ownDistance! / 2);
    for (const { images, latents } of [few, own]) dispose([images, latents]);
    dispose(loraTensors(params));
  });

  it('is a tiny decoder of the images that the model draws', async () => {
    const tiny = await AutoencoderTiny.fromPretrained(decoderLocation(embeddedDecoder.name));
    const images = await model.with({ vae: tiny }).decode(drawn.latents);
    expect(error(images, drawn.images)).toBeLessThan(0.01);
    images.dispose();
  });
});
