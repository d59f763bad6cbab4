import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { clipByValue, mul, reshape, sum, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { useBackend, type Engine, type ModelFunction } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { directory, memory } from '@alignprop/autograd-ext/weights';
import { readFile } from 'node:fs/promises';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { decodeImages } from '../pipelines/image-decoder.js';
import { AutoencoderTiny, tinyDecode, tinyEncode } from './autoencoder-tiny.js';
import { pixelsPerLatent } from './autoencoder.js';

const folder = fixturePath('autoencoder-tiny/model');
const original = fixturePath('autoencoder-tiny/original');
const cases = fixtureJson<{ cases: { batch: number }[] }>('autoencoder-tiny/case.json').cases.map((_, i) => i);

const decoder =
  ({ config }: AutoencoderTiny): ModelFunction =>
  (params, latents) =>
    tinyDecode(config, params, latents as Tensor4D);
const encoder =
  ({ config }: AutoencoderTiny): ModelFunction =>
  (params, images) =>
    tinyEncode(config, params, images as Tensor4D);

describe.each(engineNames)('AutoencoderTiny on %s', (name) => {
  let engine: Engine;
  let model: AutoencoderTiny;
  let golden: Record<string, Tensor>;
  beforeAll(async () => {
    engine = await startEngine(name);
    model = await AutoencoderTiny.fromPretrained(folder);
    golden = await fixtureTensors('autoencoder-tiny/io.safetensors');
  });
  afterAll(() => engine.dispose());

  it.each(cases)('decodes latents, and computes their gradient, as diffusers does: case %i', async (i) => {
    const run = engine.compileVjp(decoder(model), { wrt: [0] });
    const { value, inputs } = await run(model.params, [toNHWC(golden[`${i}.latents`]!)], toNHWC(golden[`${i}.R`]!));
    expectClose(toNCHW(value), golden[`${i}.decoded`]!, 1e-4, 'decoded');
    expectClose(reshape(sum(mul(toNCHW(value), golden[`${i}.R`]!)), [1]), golden[`${i}.loss`]!, 1e-4, 'loss');
    expectClose(toNCHW(inputs[0]!), golden[`${i}.grad_latents`]!, 1e-3, 'grad_latents');
  });

  it.each(cases)('decodes latents to images in [0, 1] with their gradient: case %i', async (i) => {
    const run = engine.compileVjp(decodeImages(model.config), { wrt: [0] });
    const { value, inputs } = await run(model.params, [toNHWC(golden[`${i}.latents`]!)], toNHWC(golden[`${i}.R`]!));
    expectClose(toNCHW(value), golden[`${i}.image01`]!, 1e-4, 'images');
    expectClose(toNCHW(clipByValue(value, 0, 1)), toNCHW(value), 0, 'range');
    expectClose(toNCHW(inputs[0]!), golden[`${i}.grad_latents_image01`]!, 1e-3, 'gradient');
  });

  it.each(cases)('encodes images, and computes their gradient, as diffusers does: case %i', async (i) => {
    const run = engine.compileVjp(encoder(model), { wrt: [0] });
    const dy = toNHWC(golden[`${i}.R_encode`]!);
    const { value, inputs } = await run(model.params, [toNHWC(golden[`${i}.image`]!)], dy);
    expectClose(toNCHW(value), golden[`${i}.encoded`]!, 1e-4, 'encoded');
    expectClose(toNCHW(inputs[0]!), golden[`${i}.grad_image`]!, 1e-3, 'grad_image');
  });

  it('reads the original files, safetensors and torch, with the same result', async () => {
    const latents = toNHWC(golden['0.latents']!);
    const torchAlone = memory({
      'taesd_decoder.pth': await readFile(`${original}/taesd_decoder.pth`),
      'taesd_encoder.safetensors': await readFile(`${original}/taesd_encoder.safetensors`),
    });
    for (const source of [directory(original), torchAlone]) {
      const { config, params } = await AutoencoderTiny.fromPretrained(source);
      const [decoded] = await engine.compile(decoder({ config } as AutoencoderTiny))(params, latents);
      expectClose(toNCHW(decoded!), golden['0.decoded']!, 1e-4, 'decoded');
    }
  });

  it('leaks no tensor, forward or backward', async () => {
    const latents = toNHWC(golden['0.latents']!);
    const run = engine.compileVjp(decoder(model), { wrt: [0] });
    await run(model.params, [latents]);
    await expectNoLeaks(async () => {
      const { value, inputs } = await run(model.params, [latents]);
      return [value, ...inputs];
    });
  });
});

describe('AutoencoderTiny.fromPretrained', () => {
  beforeAll(() => useBackend('wasm'));

  it('has eight pixels per latent', async () => {
    expect(pixelsPerLatent((await AutoencoderTiny.fromPretrained(folder)).config)).toBe(8);
  });

  it('names what it cannot load', async () => {
    const config = fixtureJson<object>('autoencoder-tiny/model/config.json');
    const create = (changes: object) => () => new AutoencoderTiny({ ...config, ...changes }, {});
    expect(create({ act_fn: 'mish' })).toThrow('act_fn got "mish", expected "relu" or');
    expect(create({ num_decoder_blocks: [1] })).toThrow('num_decoder_blocks got 1 entries, expected 4');
    expect(create({ encoder_block_out_channels: [4, 8, 8, 8] })).toThrow('expected equal numbers');
    await expect(AutoencoderTiny.fromPretrained(memory({}))).rejects.toThrow('expected config.json and weights');
    const decoderAlone = memory({ 'taesd_decoder.pth': await readFile(`${original}/taesd_decoder.pth`) });
    await expect(AutoencoderTiny.fromPretrained(decoderAlone)).rejects.toThrow('got taesd_decoder.pth without its');
  });
});
