import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { cast, tensor4d, type Tensor, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import { TfjsEngine, useBackend, flatten } from '@alignprop/autograd-ext';
import { encodeSafetensors, memory, openSafetensors, directory } from '@alignprop/autograd-ext/weights';
import { expectClose, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { clipText, CLIPTextModel } from '../clip/text-model.js';
import { AutoencoderKL, vaeDecode } from './autoencoder-kl.js';
import { unet2DCondition, UNet2DConditionModel } from './unet-2d-condition.js';

const load = (path: string) => fixturePath(`load/${path}`);

describe.each(['wasm', 'cpu'] as const)('every form of a model’s files on %s', (backend) => {
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
  ])('UNet: %s, variant %s', async (form, variant, expected) => {
    const { config, params } = await UNet2DConditionModel.fromPretrained(load(form), { subfolder: 'unet', variant });
    const engine = new TfjsEngine();
    const run = engine.compile((p, sample, timestep, context) =>
      unet2DCondition(config, p, sample as Tensor4D, timestep!, context as Tensor3D),
    );
    const [out] = await run(params, toNHWC(io.sample!), cast(io.timestep!, 'float32'), io.encoder_hidden_states!);
    expectClose(toNCHW(out!), io[expected]!, 1e-4, form);
    engine.dispose();
  });

  it.each([
    ['plain', undefined],
    ['fp16-variant', 'fp16'],
  ])('VAE: %s, variant %s', async (form, variant) => {
    const { config, params } = await AutoencoderKL.fromPretrained(load(form), { subfolder: 'vae', variant });
    const engine = new TfjsEngine();
    const [out] = await engine.compile((p, latents) => vaeDecode(config, p, latents as Tensor4D))(
      params,
      toNHWC(io.latents!),
    );
    expectClose(toNCHW(out!), io.decoded!, 1e-4, form);
    engine.dispose();
  });

  it.each([
    ['plain', undefined],
    ['sharded', undefined],
    ['fp16-variant', 'fp16'],
  ])('text encoder: %s, variant %s', async (form, variant) => {
    const { config, params } = await CLIPTextModel.fromPretrained(load(form), { subfolder: 'text_encoder', variant });
    const engine = new TfjsEngine();
    const [out] = await engine.compile((p, ids) => clipText(config, p, ids!).lastHiddenState)(params, io.input_ids!);
    expectClose(out!, io.last_hidden_state!, 1e-4, form);
    engine.dispose();
  });
});

describe('files that do not fit', () => {
  const file = (path: string) => new Uint8Array(readFileSync(fixturePath(path)));
  const config = JSON.parse(readFileSync(load('plain/unet/config.json'), 'utf8'));
  const weights = file('load/plain/unet/diffusion_pytorch_model.safetensors');
  const folder = (changes: object, data: Uint8Array = weights) =>
    memory(
      { 'config.json': JSON.stringify({ ...config, ...changes }), 'diffusion_pytorch_model.safetensors': data },
      'a-unet',
    );

  it('names the files looked for where only a variant is there, and the variant', async () => {
    const loading = UNet2DConditionModel.fromPretrained(load('fp16-variant'), { subfolder: 'unet' });
    await expect(loading).rejects.toThrow(
      /Looked for diffusion_pytorch_model\.safetensors.*diffusion_pytorch_model\.fp16\.safetensors.*variant 'fp16'/s,
    );
  });

  it('names a missing folder', async () => {
    await expect(UNet2DConditionModel.fromPretrained(load('plain'), { subfolder: 'unett' })).rejects.toThrow(/unett/);
    await expect(AutoencoderKL.fromPretrained(load('absent'))).rejects.toThrow(/absent/);
  });

  it('names a missing config and missing weights', async () => {
    await expect(UNet2DConditionModel.fromPretrained(memory({}, 'empty'))).rejects.toThrow(/config\.json/);
    await expect(UNet2DConditionModel.fromPretrained(memory({ 'config.json': '{}' }, 'empty'))).rejects.toThrow(
      /diffusion_pytorch_model\.safetensors/,
    );
  });

  it('lists all missing and unexpected weights and wrong shapes in one error', async () => {
    const { tensors } = await openSafetensors(directory(load('plain/unet')), 'diffusion_pytorch_model.safetensors');
    const entries = await Promise.all(
      [...tensors].map(async ([name, { shape, read }]) => [name, { dtype: 'F32', shape, data: await read() }] as const),
    );
    const changed = Object.fromEntries(entries.filter(([name]) => name !== 'conv_out.bias'));
    changed['conv_in.more'] = { dtype: 'F32', shape: [1], data: new Float32Array(1) };
    changed['conv_in.bias'] = { dtype: 'F32', shape: [3], data: new Float32Array(3) };
    const loading = UNet2DConditionModel.fromPretrained(folder({}, encodeSafetensors(changed as never)));
    await expect(loading).rejects.toThrow(
      /UNet2DConditionModel.*a-unet.*missing: conv_out\.bias\..*unexpected: conv_in\.more\..*conv_in\.bias \(got \[3\], expected \[4\]\)/s,
    );
  });

  it('rejects weights of another architecture', async () => {
    await expect(UNet2DConditionModel.fromPretrained(folder({ use_linear_projection: true }))).rejects.toThrow(
      /proj_in\.weight \(got \[8, 8, 1, 1\], expected \[8, 8\]\)/,
    );
    await expect(UNet2DConditionModel.fromPretrained(folder({ layers_per_block: 2 }))).rejects.toThrow(
      /missing: down_blocks\.0\.resnets\.1/,
    );
  });

  it('names every unsupported config field, its value and what is supported', async () => {
    const loading = UNet2DConditionModel.fromPretrained(
      folder({ class_embed_type: 'timestep', act_fn: 'mish', down_block_types: ['DownBlock2D', 'AttnDownBlock2D'] }),
    );
    await expect(loading).rejects.toThrow(
      /down_block_types got \["DownBlock2D","AttnDownBlock2D"\], expected a list of "CrossAttnDownBlock2D" or "DownBlock2D"; act_fn got "mish", expected "silu" or "swish"; class_embed_type got "timestep", expected null/,
    );
  });
});

describe('the forms that old autoencoders have', () => {
  beforeAll(() => useBackend('wasm'));

  it('reads attention matrices that are stored as 1x1 convolutions', async () => {
    const plain = await AutoencoderKL.fromPretrained(fixturePath('sd15-tiny/model/vae'));
    const { tensors } = await openSafetensors(
      directory(fixturePath('sd15-tiny/model/vae')),
      'diffusion_pytorch_model.safetensors',
    );
    const entries = await Promise.all(
      [...tensors].map(async ([name, { shape, read }]) => {
        const conv = /attentions.*(query|key|value|proj_attn)\.weight/.test(name);
        return [name, { dtype: 'F32', shape: conv ? [...shape, 1, 1] : shape, data: await read() }] as const;
      }),
    );
    const files = memory({
      'config.json': readFileSync(fixturePath('sd15-tiny/model/vae/config.json'), 'utf8'),
      'diffusion_pytorch_model.safetensors': encodeSafetensors(Object.fromEntries(entries) as never),
    });
    const asConvolutions = await AutoencoderKL.fromPretrained(files);
    const leaves = flatten(asConvolutions.params);
    expect(Object.keys(leaves)).toEqual(Object.keys(flatten(plain.params)));
    expect(leaves['encoder.mid_block.attentions.0.to_out.0.weight']!.shape).toEqual([32, 32]);
    const engine = new TfjsEngine();
    const latents = tensor4d([0.3, -1, 2, 0.7], [1, 1, 1, 4]);
    const decode = (model: AutoencoderKL) => engine.compile((p) => vaeDecode(model.config, p, latents))(model.params);
    const [[a], [b]] = await Promise.all([decode(plain), decode(asConvolutions)]);
    expectClose(b!, a!, 0, 'decoded');
    engine.dispose();
  });
});
