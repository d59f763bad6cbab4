import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { cast, tensor4d, type Tensor } from '@tensorflow/tfjs-core';
import { flatten, TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { encodeSafetensors, memory } from '@alignprop/autograd-ext/weights';
import { expectClose, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { hiddenStateFunction } from '../clip/__fixtures__/model-functions.js';
import { CLIPTextModel } from '../clip/text-model.js';
import { decoderFunction, unetFunction } from '../models/__fixtures__/model-functions.js';
import { readEntries } from '../models/__fixtures__/weights.js';
import { AutoencoderKL } from '../models/autoencoder-kl.js';
import { UNet2DConditionModel } from '../models/unet-2d-condition.js';

const load = (path: string) => fixturePath(`load/${path}`);

describe.each(['wasm', 'cpu'] as const)('fromPretrained on %s', (backend) => {
  let io: Record<string, Tensor>;
  beforeAll(async () => {
    await useBackend(backend);
    io = await fixtureTensors('load/io.safetensors');
  });

  it.each([
    ['plain', undefined, 'unet_out'],
    ['sharded', undefined, 'unet_out'],
    ['fp16', undefined, 'unet_out'],
    ['fp16-variant', 'fp16', 'unet_out'],
    ['sharded-fp16-variant', 'fp16', 'unet_out'],
    ['bf16', undefined, 'unet_out_bf16_weights'],
  ])('loads a UNet from files of form %s with variant %s', async (form, variant, expected) => {
    const model = await UNet2DConditionModel.fromPretrained(load(form), { subfolder: 'unet', variant });
    const engine = new TfjsEngine();
    const inputs = [toNHWC(io.sample!), cast(io.timestep!, 'float32'), io.encoder_hidden_states!];
    const [out] = await engine.compile(unetFunction(model))(model.params, ...inputs);
    expectClose(toNCHW(out!), io[expected]!, 1e-4, form);
    engine.dispose();
  });

  it.each([
    ['plain', undefined],
    ['fp16-variant', 'fp16'],
  ])('loads a VAE from files of form %s with variant %s', async (form, variant) => {
    const model = await AutoencoderKL.fromPretrained(load(form), { subfolder: 'vae', variant });
    const engine = new TfjsEngine();
    const [out] = await engine.compile(decoderFunction(model))(model.params, toNHWC(io.latents!));
    expectClose(toNCHW(out!), io.decoded!, 1e-4, form);
    engine.dispose();
  });

  it.each([
    ['plain', undefined],
    ['sharded', undefined],
    ['fp16-variant', 'fp16'],
  ])('loads a text encoder from files of form %s with variant %s', async (form, variant) => {
    const { config, params } = await CLIPTextModel.fromPretrained(load(form), { subfolder: 'text_encoder', variant });
    const engine = new TfjsEngine();
    const [out] = await engine.compile(hiddenStateFunction(config))(params, io.input_ids!);
    expectClose(out!, io.last_hidden_state!, 1e-4, form);
    engine.dispose();
  });
});

describe('the errors of fromPretrained', () => {
  const file = (path: string) => new Uint8Array(readFileSync(fixturePath(path)));
  const config = JSON.parse(readFileSync(load('plain/unet/config.json'), 'utf8'));
  const weights = file('load/plain/unet/diffusion_pytorch_model.safetensors');
  const folder = (changes: object, data: Uint8Array = weights) =>
    memory(
      { 'config.json': JSON.stringify({ ...config, ...changes }), 'diffusion_pytorch_model.safetensors': data },
      'a-unet',
    );

  it('name the missing files and the variant that the folder has', async () => {
    const loading = UNet2DConditionModel.fromPretrained(load('fp16-variant'), { subfolder: 'unet' });
    await expect(loading).rejects.toThrow(
      /Looked for diffusion_pytorch_model\.safetensors.*diffusion_pytorch_model\.fp16\.safetensors.*variant 'fp16'/s,
    );
  });

  it('name the missing folder', async () => {
    await expect(UNet2DConditionModel.fromPretrained(load('plain'), { subfolder: 'unett' })).rejects.toThrow(/unett/);
    await expect(AutoencoderKL.fromPretrained(load('absent'))).rejects.toThrow(/absent/);
  });

  it('name the missing config and the missing weights', async () => {
    await expect(UNet2DConditionModel.fromPretrained(memory({}, 'empty'))).rejects.toThrow(/config\.json/);
    await expect(UNet2DConditionModel.fromPretrained(memory({ 'config.json': '{}' }, 'empty'))).rejects.toThrow(
      /diffusion_pytorch_model\.safetensors/,
    );
  });

  it('list all missing weights, unexpected weights and wrong shapes at once', async () => {
    const entries = await readEntries(load('plain/unet'), 'diffusion_pytorch_model.safetensors');
    const changed = Object.fromEntries(entries.filter(([name]) => name !== 'conv_out.bias'));
    changed['conv_in.more'] = { dtype: 'F32', shape: [1], data: new Float32Array(1) };
    changed['conv_in.bias'] = { dtype: 'F32', shape: [3], data: new Float32Array(3) };
    const loading = UNet2DConditionModel.fromPretrained(folder({}, encodeSafetensors(changed)));
    await expect(loading).rejects.toThrow(
      new RegExp(
        String.raw`UNet2DConditionModel.*a-unet.*missing: conv_out\.bias\..*unexpected: conv_in\.more\..*` +
          String.raw`conv_in\.bias \(got \[3\], expected \[4\]\)`,
        's',
      ),
    );
  });

  it('list the weights that do not match the architecture of the config', async () => {
    await expect(UNet2DConditionModel.fromPretrained(folder({ use_linear_projection: true }))).rejects.toThrow(
      /proj_in\.weight \(got \[8, 8, 1, 1\], expected \[8, 8\]\)/,
    );
    await expect(UNet2DConditionModel.fromPretrained(folder({ layers_per_block: 2 }))).rejects.toThrow(
      /missing: down_blocks\.0\.resnets\.1/,
    );
  });

  it('list every unsupported config field with its value and the supported values', async () => {
    const loading = UNet2DConditionModel.fromPretrained(
      folder({ class_embed_type: 'timestep', act_fn: 'mish', down_block_types: ['DownBlock2D', 'AttnDownBlock2D'] }),
    );
    await expect(loading).rejects.toThrow(
      'down_block_types got ["DownBlock2D","AttnDownBlock2D"], ' +
        'expected a list of "CrossAttnDownBlock2D" or "DownBlock2D"; ' +
        'act_fn got "mish", expected "silu" or "swish"; class_embed_type got "timestep", expected null',
    );
  });
});

describe('AutoencoderKL.fromPretrained', () => {
  beforeAll(() => useBackend('wasm'));

  it('loads attention matrices stored as 1×1 convolutions', async () => {
    const folder = fixturePath('sd15-tiny/model/vae');
    const plain = await AutoencoderKL.fromPretrained(folder);
    const entries = (await readEntries(folder, 'diffusion_pytorch_model.safetensors')).map(([name, entry]) => {
      const isMatrix = /attentions.*(query|key|value|proj_attn)\.weight/.test(name);
      return [name, isMatrix ? { ...entry, shape: [...entry.shape, 1, 1] } : entry] as const;
    });
    const files = memory({
      'config.json': readFileSync(`${folder}/config.json`, 'utf8'),
      'diffusion_pytorch_model.safetensors': encodeSafetensors(Object.fromEntries(entries)),
    });
    const asConvolutions = await AutoencoderKL.fromPretrained(files);
    const leaves = flatten(asConvolutions.params);
    expect(Object.keys(leaves)).toEqual(Object.keys(flatten(plain.params)));
    expect(leaves['encoder.mid_block.attentions.0.to_out.0.weight']!.shape).toEqual([32, 32]);
    const engine = new TfjsEngine();
    const latents = tensor4d([0.3, -1, 2, 0.7], [1, 1, 1, 4]);
    const decode = (model: AutoencoderKL) => engine.compile(decoderFunction(model))(model.params, latents);
    const [[expected], [actual]] = await Promise.all([decode(plain), decode(asConvolutions)]);
    expectClose(actual!, expected!, 0, 'decoded');
    engine.dispose();
  });
});
