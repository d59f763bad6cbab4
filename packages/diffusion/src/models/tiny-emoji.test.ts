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
  type Tensor3D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { clipText, CLIPTextModel } from '../clip/text-model.js';
import { AutoencoderKL, vaeDecode, vaeEncode } from './autoencoder-kl.js';
import { unet2DCondition, UNet2DConditionModel } from './unet-2d-condition.js';

const folder = fileURLToPath(new URL('../../../cli/models/tiny-emoji', import.meta.url));
const [START, END] = [4512, 4513];
const ALPHA_BAR = 0.2763; // of step 500 in Stable Diffusion's schedule

/** The first sample, a crab: `[1, 64, 64, 3]` in [-1, 1]. */
function crab(): Tensor4D {
  const { data, width, height } = decode(readFileSync(`${folder}/samples.png`)); // drawn twice as large
  const tile = slice(tensor3d(Float32Array.from(data), [height, width, 3]), [0, 0, 0], [128, 128, 3]);
  return expandDims(sub(div(avgPool(tile, 2, 2, 'valid'), 127.5), 1), 0);
}

const meanSquare = (x: Tensor): number => mean(square(x)).dataSync()[0]!;

// Half-precision weights, text weights without their prefix: files as current versions of the reference libraries write
// them.
describe('the trained tiny model', () => {
  const engine = new TfjsEngine();
  let latents: Tensor;
  let vae: AutoencoderKL;
  beforeAll(async () => {
    await useBackend('wasm');
    vae = await AutoencoderKL.fromPretrained(folder, { subfolder: 'vae' });
    const [encoded] = await engine.compile((params, images) => vaeEncode(vae.config, params, images as Tensor4D).mean)(
      vae.params,
      crab(),
    );
    latents = mul(encoded!, vae.config.scaling_factor);
  });
  afterAll(() => engine.dispose());

  it('restores an image from its latents, which have unit variance', async () => {
    expect(latents.shape).toEqual([1, 16, 16, 4]);
    expect(meanSquare(latents)).toBeGreaterThan(0.2);
    expect(meanSquare(latents)).toBeLessThan(5);
    const [restored] = await engine.compile((params, x) => vaeDecode(vae.config, params, x as Tensor4D))(
      vae.params,
      div(latents, vae.config.scaling_factor),
    );
    const error = meanSquare(sub(clipByValue(restored!, -1, 1), crab()));
    expect(10 * Math.log10(4 / error)).toBeGreaterThan(25); // dB
  });

  it('finds the noise in noisy latents', async () => {
    const text = await CLIPTextModel.fromPretrained(folder, { subfolder: 'text_encoder' });
    const unet = await UNet2DConditionModel.fromPretrained(folder, { subfolder: 'unet' });
    const ids = tensor2d([START, ...Array.from({ length: 23 }, () => END)], [1, 24], 'int32');
    const [context] = await engine.compile(
      (params, inputIds) => clipText(text.config, params, inputIds!).lastHiddenState,
    )(text.params, ids);
    const noise = randomNormal([1, 16, 16, 4], 0, 1, 'float32', 7);
    const noisy = add(mul(latents, Math.sqrt(ALPHA_BAR)), mul(noise, Math.sqrt(1 - ALPHA_BAR)));
    const predict = engine.compile((params, sample, timestep, states) =>
      unet2DCondition(unet.config, params, sample as Tensor4D, timestep!, states as Tensor3D),
    );
    const [found] = await predict(unet.params, noisy, tensor1d([500]), context!);
    expect(meanSquare(sub(found!, noise))).toBeLessThan(0.15); // 1 for a prediction of nothing
  });
});
