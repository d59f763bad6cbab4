import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { decode } from 'fast-png';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  add,
  avgPool,
  clipByValue,
  div,
  expandDims,
  mean,
  mul,
  randomNormal,
  slice,
  square,
  sub,
  tensor1d,
  tensor2d,
  tensor3d,
  type Tensor,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { hiddenStateFunction } from '../clip/__fixtures__/model-functions.js';
import { CLIPTextModel } from '../clip/text-model.js';
import { decoderFunction, encoderFunction, unetFunction } from '../models/__fixtures__/model-functions.js';
import { AutoencoderKL } from '../models/autoencoder-kl.js';
import { UNet2DConditionModel } from '../models/unet-2d-condition.js';

const folder = fileURLToPath(new URL('../../../cli/models/tiny-emoji', import.meta.url));
const [START, END] = [4512, 4513];
const ALPHA_BAR = 0.2763; // at timestep 500 of Stable Diffusion's schedule

/** The first image of samples.png, a crab: `[1, 64, 64, 3]` in [-1, 1]. */
function crab(): Tensor4D {
  const { data, width, height } = decode(readFileSync(`${folder}/samples.png`)); // enlarged twice
  const tile = slice(tensor3d(Float32Array.from(data), [height, width, 3]), [0, 0, 0], [128, 128, 3]);
  return expandDims(sub(div(avgPool(tile, 2, 2, 'valid'), 127.5), 1), 0);
}

const meanSquare = (x: Tensor): number => mean(square(x)).dataSync()[0]!;

// The files of this model are in the form that current versions of diffusers and transformers write: weights in half
// precision, text weights without the prefix `text_model.`.
describe('the trained model tiny-emoji', () => {
  const engine = new TfjsEngine();
  let latents: Tensor;
  let vae: AutoencoderKL;
  beforeAll(async () => {
    await useBackend('wasm');
    vae = await AutoencoderKL.fromPretrained(folder, { subfolder: 'vae' });
    const [encoded] = await engine.compile(encoderFunction(vae))(vae.params, crab());
    latents = mul(encoded!, vae.config.scaling_factor);
  });
  afterAll(() => engine.dispose());

  it('encodes an image to latents of about unit variance and decodes it again', async () => {
    expect(latents.shape).toEqual([1, 16, 16, 4]);
    expect(meanSquare(latents)).toBeGreaterThan(0.2);
    expect(meanSquare(latents)).toBeLessThan(5);
    const scaled = div(latents, vae.config.scaling_factor);
    const [restored] = await engine.compile(decoderFunction(vae))(vae.params, scaled);
    const error = meanSquare(sub(clipByValue(restored!, -1, 1), crab()));
    expect(10 * Math.log10(4 / error)).toBeGreaterThan(25); // dB
  });

  it('predicts the noise of noisy latents', async () => {
    const text = await CLIPTextModel.fromPretrained(folder, { subfolder: 'text_encoder' });
    const unet = await UNet2DConditionModel.fromPretrained(folder, { subfolder: 'unet' });
    const ids = tensor2d([START, ...Array.from({ length: 23 }, () => END)], [1, 24], 'int32');
    const [context] = await engine.compile(hiddenStateFunction(text.config))(text.params, ids);
    const noise = randomNormal([1, 16, 16, 4], 0, 1, 'float32', 7);
    const noisy = add(mul(latents, Math.sqrt(ALPHA_BAR)), mul(noise, Math.sqrt(1 - ALPHA_BAR)));
    const predict = engine.compile(unetFunction(unet));
    const [predicted] = await predict(unet.params, noisy, tensor1d([500]), context!);
    expect(meanSquare(sub(predicted!, noise))).toBeLessThan(0.15); // predicting zeros gives 1
  });
});
