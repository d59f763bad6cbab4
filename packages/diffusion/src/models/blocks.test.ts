import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { reshape, slice, tensor1d, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { conv2d, useBackend, type Engine } from '@alignprop/autograd-ext';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { expectClose, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { attention, basicTransformerBlock, feedForward, transformer2D } from './attention.js';
import { AutoencoderKL, type AutoencoderKLParams } from './autoencoder-kl.js';
import { timestepEmbedding, timestepMlp } from './embeddings.js';
import { downsample2D, resnetBlock2D, upsample2D } from './resnet.js';
import { downBlock2D, unetMidBlock2D, upBlock2D } from './unet-2d-blocks.js';
import { UNet2DConditionModel, type UNet2DConditionParams } from './unet-2d-condition.js';
import { downEncoderBlock2D, upDecoderBlock2D, vaeAttention, vaeMidBlock } from './vae.js';

// Every module gets the input of the same module in diffusers, so that the failing test names the wrong module.
describe.each(engineNames)('the blocks of sd15-tiny on %s', (backend) => {
  let engine: Engine;
  const unetOptions = {
    resnet: { groups: 8, eps: 1e-5 },
    transformer: { groups: 8, heads: 8, onlyCrossAttention: false, linearProjection: false },
    downsamplePadding: 1,
  };
  let unet: UNet2DConditionModel;
  let vae: AutoencoderKL;
  let golden: Record<string, Tensor>;
  let vaeGolden: Record<string, Tensor>;
  let context: Tensor;
  let sample: Tensor4D;
  let latents: Tensor4D;
  let images: Tensor4D;
  beforeAll(async () => {
    engine = await startEngine(backend);
    unet = await UNet2DConditionModel.fromPretrained(fixturePath('sd15-tiny/model/unet'));
    vae = await AutoencoderKL.fromPretrained(fixturePath('sd15-tiny/model/vae'));
    golden = await fixtureTensors('sd15-tiny/unet_intermediates.safetensors');
    vaeGolden = await fixtureTensors('sd15-tiny/vae_intermediates.safetensors');
    const unetCases = await fixtureTensors('sd15-tiny/unet.safetensors');
    const vaeCases = await fixtureTensors('sd15-tiny/vae.safetensors');
    context = slice(unetCases['0.encoder_hidden_states']!, 0, 1);
    sample = slice(toNHWC(unetCases['0.sample']!), 0, 1);
    latents = slice(toNHWC(vaeCases['0.latents']!), 0, 1);
    images = slice(toNHWC(vaeCases['0.image']!), 0, 1);
  });
  afterAll(() => engine.dispose());

  const image = (name: string) => toNHWC(golden[name]!);
  const tokens = (name: string) => reshape(image(name), [1, -1, golden[name]!.shape[1]!]);

  /** Asserts that a function of the UNet's weights computes the output of diffusers' module of this name. */
  async function expectModule(name: string, fn: (params: UNet2DConditionParams) => Tensor): Promise<void> {
    const [out] = await engine.compile((params) => fn(params as unknown as UNet2DConditionParams))(unet.params);
    expectClose(out!.rank === 4 ? toNCHW(out!) : out!, golden[name]!, 1e-4, name);
  }

  it('computes the timestep embedding', async () => {
    await expectModule('time_proj', () =>
      timestepEmbedding(tensor1d([981]), { channels: 16, flipSinToCos: true, freqShift: 0 }),
    );
    await expectModule('time_embedding', (p) => timestepMlp(p.time_embedding, golden.time_proj!));
  });

  it('computes the first and the last convolution', async () => {
    await expectModule('conv_in', (p) => conv2d(sample, p.conv_in.weight, p.conv_in.bias, { padding: 1 }));
    await expectModule('conv_out', (p) =>
      conv2d(image('conv_act'), p.conv_out.weight, p.conv_out.bias, { padding: 1 }),
    );
  });

  it.each(['down_blocks.0.attentions.0', 'mid_block.attentions.0'])('computes the parts of %s', async (module) => {
    const block = `${module}.transformer_blocks.0`;
    const transformer = (p: UNet2DConditionParams) =>
      (module.startsWith('mid') ? p.mid_block! : p.down_blocks[0]!).attentions![0]!;
    const parts = (p: UNet2DConditionParams) => transformer(p).transformer_blocks[0]!;
    const at = (name: string) => golden[`${block}.${name}`]!;
    await expectModule(`${block}.attn1`, (p) => attention(parts(p).attn1, at('norm1'), at('norm1'), { heads: 8 }));
    await expectModule(`${block}.attn2`, (p) => attention(parts(p).attn2, at('norm2'), context, { heads: 8 }));
    await expectModule(`${block}.ff`, (p) => feedForward(parts(p).ff, at('norm3')));
    await expectModule(block, (p) =>
      basicTransformerBlock(parts(p), tokens(`${module}.proj_in`), context, unetOptions.transformer),
    );
    const input = image(module.startsWith('mid') ? 'mid_block.resnets.0' : 'down_blocks.0.resnets.0');
    await expectModule(module, (p) => transformer2D(transformer(p), input, context, unetOptions.transformer));
  });

  it('computes resnets, downsampling and upsampling', async () => {
    const time = golden.time_embedding!;
    await expectModule('down_blocks.0.resnets.0', (p) =>
      resnetBlock2D(p.down_blocks[0]!.resnets[0]!, image('conv_in'), time, unetOptions.resnet),
    );
    await expectModule('down_blocks.2.resnets.0', (p) =>
      resnetBlock2D(p.down_blocks[2]!.resnets[0]!, image('down_blocks.1'), time, unetOptions.resnet),
    );
    await expectModule('down_blocks.0.downsamplers.0', (p) =>
      downsample2D(p.down_blocks[0]!.downsamplers![0], image('down_blocks.0.attentions.1'), { padding: 1 }),
    );
    await expectModule('up_blocks.0.upsamplers.0', (p) =>
      upsample2D(p.up_blocks[0]!.upsamplers![0], image('up_blocks.0.resnets.2'), [2, 2]),
    );
  });

  it.each([0, 1, 2, 3])('computes down block %i and its skip connections', async (i) => {
    const input = image(i === 0 ? 'conv_in' : `down_blocks.${i - 1}`);
    const run = (p: UNet2DConditionParams) =>
      downBlock2D(p.down_blocks[i]!, input, golden.time_embedding!, context, unetOptions);
    await expectModule(`down_blocks.${i}`, (p) => run(p).output);
    const names = [0, 1]
      .map((layer) => `down_blocks.${i}.${i === 3 ? 'resnets' : 'attentions'}.${layer}`)
      .concat(i === 3 ? [] : [`down_blocks.${i}.downsamplers.0`]);
    for (const [j, name] of names.entries()) await expectModule(name, (p) => run(p).skips[j]!);
  });

  it('computes the mid block', async () => {
    await expectModule('mid_block', (p) =>
      unetMidBlock2D(p.mid_block!, image('down_blocks.3'), golden.time_embedding!, context, unetOptions),
    );
  });

  it.each([0, 1, 2, 3])('computes up block %i', async (i) => {
    const level = 3 - i;
    const kind = level === 3 ? 'resnets' : 'attentions';
    const below = level === 0 ? 'conv_in' : `down_blocks.${level - 1}.downsamplers.0`;
    const skips = [`down_blocks.${level}.${kind}.1`, `down_blocks.${level}.${kind}.0`, below].map(image);
    const size = golden[`up_blocks.${i}`]!.shape.slice(2) as [number, number];
    const input = image(i === 0 ? 'mid_block' : `up_blocks.${i - 1}`);
    await expectModule(`up_blocks.${i}`, (p) =>
      upBlock2D(p.up_blocks[i]!, input, skips, golden.time_embedding!, context, unetOptions, size),
    );
  });

  /** Asserts that a function of the autoencoder's weights computes the output of diffusers' module of this name. */
  async function expectVaeModule(name: string, fn: (params: AutoencoderKLParams) => Tensor): Promise<void> {
    const [out] = await engine.compile((params) => fn(params as unknown as AutoencoderKLParams))(vae.params);
    expectClose(toNCHW(out!), vaeGolden[name]!, 1e-4, name);
  }
  const vaeImage = (name: string) => toNHWC(vaeGolden[name]!);
  const groups = { groups: 8 };

  it('computes the modules of the decoder', async () => {
    await expectVaeModule('post_quant_conv', (p) =>
      conv2d(latents, p.post_quant_conv!.weight, p.post_quant_conv!.bias),
    );
    await expectVaeModule('decoder.mid_block.attentions.0', (p) =>
      vaeAttention(p.decoder.mid_block.attentions![0]!, vaeImage('decoder.mid_block.resnets.0'), {
        groups: 8,
        eps: 1e-6,
      }),
    );
    await expectVaeModule('decoder.mid_block', (p) =>
      vaeMidBlock(p.decoder.mid_block, vaeImage('decoder.conv_in'), groups),
    );
    for (const i of [0, 1, 2, 3]) {
      const input = vaeImage(i === 0 ? 'decoder.mid_block' : `decoder.up_blocks.${i - 1}`);
      await expectVaeModule(`decoder.up_blocks.${i}`, (p) => upDecoderBlock2D(p.decoder.up_blocks[i]!, input, groups));
    }
  });

  it('computes the modules of the encoder', async () => {
    await expectVaeModule('encoder.conv_in', (p) =>
      conv2d(images, p.encoder.conv_in.weight, p.encoder.conv_in.bias, { padding: 1 }),
    );
    for (const i of [0, 1, 2, 3]) {
      const input = vaeImage(i === 0 ? 'encoder.conv_in' : `encoder.down_blocks.${i - 1}`);
      await expectVaeModule(`encoder.down_blocks.${i}`, (p) =>
        downEncoderBlock2D(p.encoder.down_blocks[i]!, input, groups),
      );
    }
    await expectVaeModule('encoder.mid_block', (p) =>
      vaeMidBlock(p.encoder.mid_block, vaeImage('encoder.down_blocks.3'), groups),
    );
  });
});

describe('timestepEmbedding', () => {
  beforeAll(() => useBackend('wasm'));

  it('puts sines first without flipSinToCos, and pads an odd width with zero', () => {
    const embed = (channels: number, flipSinToCos: boolean) => [
      ...timestepEmbedding(tensor1d([3]), { channels, flipSinToCos, freqShift: 1 }).dataSync(),
    ];
    const [a, b, c, d] = embed(4, true);
    expect(embed(4, false)).toEqual([c, d, a, b]);
    expect(embed(5, true)).toEqual([a, b, c, d, 0]);
    expect([a, c]).toEqual([expect.closeTo(Math.cos(3), 6), expect.closeTo(Math.sin(3), 6)]);
    expect(b).toBeCloseTo(Math.cos(3e-4), 6); // with freqShift 1 the last frequency is 1/10000
  });
});
