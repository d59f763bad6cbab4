import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { concat, exp, mul, randomNormal, reshape, slice, sum, type Tensor } from '@tensorflow/tfjs-core';
import { useBackend, type Engine } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { decoderFunction, encoderFunction } from './__fixtures__/model-functions.js';
import { AutoencoderKL } from './autoencoder-kl.js';

describe.each(engineNames)('AutoencoderKL on %s', (name) => {
  describe.each(['sd15-tiny', 'sd2-tiny'])('%s', (folder) => {
    let engine: Engine;
    let model: AutoencoderKL;
    let golden: Record<string, Tensor>;
    beforeAll(async () => {
      engine = await startEngine(name);
      model = await AutoencoderKL.fromPretrained(fixturePath(`${folder}/model`), { subfolder: 'vae' });
      golden = await fixtureTensors(`${folder}/vae.safetensors`);
    });
    afterAll(() => engine.dispose());

    const { vae } = fixtureJson<{ vae: { batch: number; latent_height: number; latent_width: number }[] }>(
      `${folder}/case.json`,
    );
    const cases = vae.map((c, i) => [`${c.batch} x ${c.latent_height} x ${c.latent_width}`, i] as const);

    it.each(cases)('decodes latents, and computes their gradient, as diffusers does: %s', async (_, i) => {
      const run = engine.compileVjp(decoderFunction(model), { wrt: [0] });
      const { value, inputs } = await run(model.params, [toNHWC(golden[`${i}.latents`]!)], toNHWC(golden[`${i}.R`]!));
      expectClose(toNCHW(value), golden[`${i}.decoded`]!, 1e-4, 'decoded');
      expectClose(reshape(sum(mul(toNCHW(value), golden[`${i}.R`]!)), [1]), golden[`${i}.loss`]!, 1e-4, 'loss');
      expectClose(toNCHW(inputs[0]!), golden[`${i}.grad_latents`]!, 1e-3, 'grad_latents');
    });

    it.each(cases)('encodes images as diffusers does: %s', async (_, i) => {
      const [mean, logvar] = await engine.compile(encoderFunction(model))(model.params, toNHWC(golden[`${i}.image`]!));
      expectClose(toNCHW(mean!), golden[`${i}.encode_mean`]!, 1e-4, 'mean');
      expectClose(toNCHW(mean!), golden[`${i}.encode_mode`]!, 1e-4, 'mode');
      expectClose(toNCHW(logvar!), golden[`${i}.encode_logvar`]!, 1e-4, 'logvar');
      expectClose(toNCHW(exp(mul(logvar!, 0.5))), golden[`${i}.encode_std`]!, 1e-4, 'std');
    });

    it('leaks no tensor, forward or backward', async () => {
      const latents = toNHWC(golden['0.latents']!);
      const images = toNHWC(golden['0.image']!);
      await engine.compileVjp(decoderFunction(model), { wrt: [0] })(model.params, [latents]);
      await engine.compile(encoderFunction(model))(model.params, images);
      await expectNoLeaks(() => engine.compile(encoderFunction(model))(model.params, images));
      await expectNoLeaks(async () => {
        const { value, inputs } = await engine.compileVjp(decoderFunction(model), { wrt: [0] })(model.params, [
          latents,
        ]);
        return [value, ...inputs];
      });
    });

    it('decodes each sample of a batch as it decodes the sample alone', async () => {
      const latents = randomNormal([3, 2, 5, 4], 0, 1, 'float32', 1);
      const [together] = await engine.compile(decoderFunction(model))(model.params, latents);
      const alone = await Promise.all(
        [0, 1, 2].map(
          async (i) => (await engine.compile(decoderFunction(model))(model.params, slice(latents, i, 1)))[0]!,
        ),
      );
      const factor = 2 ** (model.config.block_out_channels.length - 1);
      expect(together!.shape).toEqual([3, 2 * factor, 5 * factor, 3]);
      expectClose(together!, concat(alone), 1e-5, 'batch');
    });
  });
});

describe('AutoencoderKL.fromPretrained', () => {
  beforeAll(() => useBackend('wasm'));

  it('uses the default scaling factor if the config has none', async () => {
    const model = await AutoencoderKL.fromPretrained(fixturePath('sd15-tiny/model/vae'));
    expect(model.config.scaling_factor).toBe(0.18215);
  });
});
