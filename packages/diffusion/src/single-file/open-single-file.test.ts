import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { cast, clipByValue, concat, tensor1d, type Tensor, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import {
  directory,
  encodeSafetensors,
  memory,
  openCheckpointFile,
  openSafetensors,
  openWeightFile,
  type RawTensor,
} from '@alignprop/autograd-ext/weights';
import { engineNames, startEngine } from '../../../../fixtures/engines.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { clipText, clipTextWithProjection } from '../clip/text-model.js';
import { CLIPTokenizer } from '../clip/tokenizer.js';
import { addedConditions, unet2DCondition } from '../models/unet-2d-condition.js';
import { vaeDecode, vaeEncode, type AutoencoderKL } from '../models/autoencoder-kl.js';
import { modelKind, readModelConfigs } from '../pipelines/model-kind.js';
import { StableDiffusionPipeline } from '../pipelines/stable-diffusion.js';
import { checkpointKind, type CheckpointKind } from './checkpoint-kind.js';
import { schedulerConfig } from './scheduler-layout.js';
import { standardTokenizer } from './standard-tokenizer.js';
import { textLayouts } from './text-layout.js';
import { unetConfig, unetWeights } from './unet-layout.js';
import { vaeConfig, vaeWeights } from './vae-layout.js';

const files = [
  { kind: 'sd1', file: 'sd1.ckpt', dtype: 'fp32' },
  { kind: 'sd1', file: 'sd1-fp16.safetensors', dtype: 'fp16' },
  { kind: 'sd2', file: 'sd2-fp16.safetensors', dtype: 'fp16' },
  { kind: 'sdxl', file: 'sdxl-fp16.safetensors', dtype: 'fp16' },
] as const;
const folder = temporaryFolder();
const path = (kind: string, file: string) => fixturePath(`single-file/${kind}/${file}`);
const config = (kind: string) => path(kind, 'config');

describe.each(engineNames)('fromSingleFile on %s', (name) => {
  it.each(files)('computes what diffusers computes: $file', async ({ kind, file, dtype }) => {
    const engine = await startEngine(name);
    const all = await fixtureTensors(`single-file/${kind}/expected.safetensors`);
    const golden = (key: string): Tensor => (all[`${dtype}.${key}`] ?? all[key])!;
    const pipeline = await StableDiffusionPipeline.fromSingleFile(path(kind, file), { engine, config: config(kind) });
    const { textEncoder, textEncoder2, unet, vae } = pipeline;

    const encode = engine.compile((params, ids) => {
      const { lastHiddenState, hiddenStates } = clipText(textEncoder.config, params, ids!);
      return [lastHiddenState, hiddenStates.at(-2)!];
    });
    const [last, penultimate] = await encode(textEncoder.params, golden('input_ids'));
    expectClose(last!, golden('last_hidden_state'), 1e-4, 'last_hidden_state');
    expectClose(penultimate!, golden('penultimate'), 1e-4, 'penultimate');
    let context = last as Tensor3D;
    const added: Tensor[] = [];
    if (textEncoder2) {
      const encode2 = engine.compile((params, ids) => {
        const { hiddenStates, textEmbeds } = clipTextWithProjection(textEncoder2.config, params, ids!);
        return [hiddenStates.at(-2)!, textEmbeds];
      });
      const [penultimate2, embeds] = await encode2(textEncoder2.params, golden('input_ids_2'));
      expectClose(penultimate2!, golden('penultimate_2'), 1e-4, 'penultimate_2');
      expectClose(embeds!, golden('text_embeds_2'), 1e-4, 'text_embeds_2');
      context = concat([penultimate!, penultimate2!], 2) as Tensor3D;
      added.push(embeds!, golden('time_ids'));
    }

    const predict = engine.compile((params, sample, timestep, embeds, ...conditions) =>
      unet2DCondition(
        unet.config,
        params,
        sample as Tensor4D,
        timestep!,
        embeds as Tensor3D,
        addedConditions(unet.config, conditions),
      ),
    );
    const timestep = cast(golden('timestep'), 'float32');
    const [out] = await predict(unet.params, toNHWC(golden('sample')), timestep, context, ...added);
    expectClose(toNCHW(out!), golden('unet_out'), 1e-4, 'unet_out');

    const { config: vaeOf, params } = vae as AutoencoderKL;
    const decode = engine.compile((weights, latents) => vaeDecode(vaeOf, weights, latents as Tensor4D));
    const [decoded] = await decode(params, toNHWC(golden('latents')));
    expectClose(toNCHW(decoded!), golden('decoded'), 1e-4, 'decoded');
    const encodeImage = engine.compile((weights, image) => vaeEncode(vaeOf, weights, image as Tensor4D).mean);
    const [mean] = await encodeImage(params, clipByValue(decoded!, -1, 1));
    expectClose(toNCHW(mean!), golden('encode_mean'), 1e-4, 'encode_mean');
    engine.dispose();
  });
});

describe('fromSingleFile', () => {
  beforeAll(() => useBackend('wasm'));

  it.each(files)('draws as diffusers does: $file', async ({ kind, file, dtype }) => {
    const all = await fixtureTensors(`single-file/${kind}/expected.safetensors`);
    const start = all[`${dtype}.pipeline_latents0`];
    if (!start) return expect(kind).toBe('sd2'); // diffusers' from_single_file does not open so small a file
    const options = { engine: new TfjsEngine(), config: config(kind) };
    const pipeline = await StableDiffusionPipeline.fromSingleFile(path(kind, file), options);
    const [height, width] = [2, 3].map((axis) => start.shape[axis]! * pipeline.vaeScaleFactor);
    const { prompts } = fixtureJson<{ kinds: Record<string, { prompts: string[] }> }>('single-file/case.json').kinds[
      kind
    ]!;
    const { images } = await pipeline.generate(prompts[0]!, {
      outputType: 'tensor',
      latents: toNHWC(start),
      numInferenceSteps: 2,
      guidanceScale: 3,
      height,
      width,
    });
    expectClose(toNCHW(images), all[`${dtype}.pipeline_image`]!, 1e-3, 'image');
  });

  it.each(files)('reads the sizes of models off the shapes of their weights: $file', async ({ kind, file }) => {
    const weights = await openWeightFile(directory(fixturePath(`single-file/${kind}`)), file);
    const found = checkpointKind(weights, file);
    const [text, text2] = textLayouts(weights, found);
    const pooled = text2?.config.projection_dim as number | undefined;
    const expectConfig = (part: string, derived: object, without: readonly string[]) => {
      const expected = fixtureJson<Record<string, unknown>>(`single-file/${kind}/config/${part}/config.json`);
      const names = Object.keys(derived).filter((field) => field in expected && !without.includes(field));
      const pick = (from: Record<string, unknown>) => Object.fromEntries(names.map((field) => [field, from[field]]));
      expect(names.length).toBeGreaterThan(5);
      expect(pick(derived as Record<string, unknown>)).toEqual(pick(expected));
    };
    // The heads, and the size of images, are those of the published models.
    expectConfig('unet', unetConfig(unetWeights(weights), found, pooled), ['attention_head_dim', 'sample_size']);
    expectConfig('vae', vaeConfig(vaeWeights(weights), found), []);
    const notInFile = ['num_attention_heads', 'projection_dim', 'eos_token_id'];
    expectConfig('text_encoder', text.config, notInFile);
    if (text2) expectConfig('text_encoder_2', text2.config, ['num_attention_heads']);
  });

  it('maps views of stacked matrices from their file', async () => {
    const weights = await openWeightFile(directory(fixturePath('single-file/sdxl')), 'sdxl-fp16.safetensors');
    const [, text2] = textLayouts(weights, 'SDXL');
    const name = 'text_model.encoder.layers.1.self_attn.';
    const stacked = weights.get('conditioner.embedders.1.model.transformer.resblocks.1.attn.in_proj_weight')!;
    const views = ['q_proj', 'k_proj', 'v_proj'].map((part) => text2!.weights.get(`${name}${part}.weight`)!);
    expect(views.map(({ location }) => location!.offset - stacked.location!.offset)).toEqual(
      [0, 1, 2].map((i) => (i * stacked.location!.length) / 3),
    );
    const values = await Promise.all(views.map((view) => view.read()));
    expectClose(concat(values.map((part) => tensor1d([...part]))), tensor1d([...(await stacked.read())]), 0, 'values');
    const pieces: number[] = [];
    await views[1]!.scan!((piece) => pieces.push(...piece));
    const bytes = (await readFile(fixturePath('single-file/sdxl/sdxl-fp16.safetensors'))).subarray(
      views[1]!.location!.offset,
      views[1]!.location!.offset + views[1]!.location!.length,
    );
    expect(pieces).toEqual([...bytes]);
  });

  it.each([
    [{ 'conditioner.embedders.0.model.ln_final.weight': [1] }, 'the refiner of SDXL'],
    [{ 'model.diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight': [1] }, 'a checkpoint of Stable Diffusion 3'],
    [{ 'lora_unet_mid_block_attentions_0_proj_in.lora_up.weight': [1] }, 'an adapter, which goes on a model'],
    [{ 'model.diffusion_model.out.0.weight': [1] }, 'A part is missing: the text encoder.'],
    [{ 'layers.0.weight': [1] }, 'keys such as layers.0.weight'],
  ])('refuses %o by what it is', (shapes, message) => {
    const weights = new Map(
      Object.entries(shapes).map(([key, shape]) => [
        key,
        { shape, dtype: 'F32', read: async () => new Float32Array(1) },
      ]),
    );
    expect(() => checkpointKind(weights, 'a.safetensors')).toThrow(message);
  });

  it.each(['sd1', 'sdxl'])('refuses a UNet for inpainting by what it is: %s', async (kind) => {
    const file = files.find((one) => one.kind === kind && one.file.endsWith('.safetensors'))!.file;
    const { tensors } = await openSafetensors(directory(fixturePath(`single-file/${kind}`)), file);
    const raw = Object.fromEntries(
      [...tensors].map(([key, { shape }]): [string, RawTensor] => {
        const wider = key === 'model.diffusion_model.input_blocks.0.0.weight' ? [shape[0]!, 9, 3, 3] : shape;
        return [key, { dtype: 'F32', shape: wider, data: new Float32Array(wider.reduce((a, b) => a * b, 1)) }];
      }),
    );
    const source = memory({ 'a.safetensors': encodeSafetensors(raw) });
    for (const options of [{}, { config: config(kind) }])
      await expect(
        StableDiffusionPipeline.fromSingleFile(source, { engine: new TfjsEngine(), ...options }),
      ).rejects.toThrow(/a\.safetensors': in_channels got 9, expected 4, .*: it is an inpainting UNet/);
  });

  it('takes a checkpoint of Stable Diffusion 2.x for a base model after its number of steps', async () => {
    const source = directory(fixturePath('single-file/sd1'));
    expect((await openCheckpointFile(source, 'sd1.ckpt')).metadata.get('global_step')).toBeTypeOf('number');
    const warnings: string[] = [];
    const predictionOf = (kind: CheckpointKind, globalStep: unknown, predictionType?: string) =>
      schedulerConfig(new Map(), kind, { predictionType, globalStep, onWarning: (text) => warnings.push(text) })
        .prediction_type;
    expect(predictionOf('Stable Diffusion 2.x', 875_000)).toBe('epsilon');
    expect(predictionOf('Stable Diffusion 2.x', '875000')).toBe('epsilon');
    expect(predictionOf('Stable Diffusion 2.x', 140_000)).toBe('v_prediction');
    expect(predictionOf('Stable Diffusion 2.x', 875_000, 'v_prediction')).toBe('v_prediction');
    expect(predictionOf('SDXL', 140_000)).toBe('epsilon');
    expect(warnings).toEqual([]);
    expect(predictionOf('Stable Diffusion 2.x', undefined)).toBe('v_prediction');
    expect(warnings).toHaveLength(1);
  });

  it.each([
    ['sd2', 'sd_turbo.safetensors', 'sd-turbo'],
    ['sdxl', 'sd_xl_turbo_1.0_fp16.safetensors', 'sdxl-turbo'],
  ] as const)('takes a checkpoint with the published name of a distilled model for it: %s, %s', async (...names) => {
    const [kind, name, published] = names;
    const own = path(kind, `${kind}-fp16.safetensors`);
    const copy = join(folder, name);
    await copyFile(own, copy);
    const configs = await readModelConfigs(copy);
    const expected = fixtureJson<object>(`sdxl-tiny/turbo/${published}/scheduler/scheduler_config.json`);
    expect(expected).toMatchObject(configs.scheduler.config);
    expect(modelKind(configs)).toMatchObject({ isFewStep: true, numInferenceSteps: 1, guidanceScale: 0 });
    expect(modelKind(await readModelConfigs(own)).isFewStep).toBe(false);
    // A folder of configs says more than a name.
    expect(modelKind(await readModelConfigs(copy, { config: config(kind) })).isFewStep).toBe(false);
  });

  it('names the parts that a file lacks', async () => {
    const bytes = await readFile(path('sd1', 'sd1-fp16.safetensors'));
    const broken = Buffer.from(bytes.toString('latin1').replaceAll('first_stage_model', 'first_stage_mXdel'), 'latin1');
    const source = memory({ 'a.safetensors': broken });
    const options = { engine: new TfjsEngine(), config: config('sd1') };
    await expect(StableDiffusionPipeline.fromSingleFile(source, options)).rejects.toThrow(
      /AutoencoderKL: the weights in 'memory\/a.safetensors' do not fit its config.\n\d+ missing: encoder.conv_in/,
    );
  });
});

it("has CLIP's vocabulary", async () => {
  const folder = fixturePath('sd15-tiny/model');
  const [own, read] = [
    await standardTokenizer('<|endoftext|>'),
    await CLIPTokenizer.fromPretrained(folder, { subfolder: 'tokenizer' }),
  ];
  const prompts = ['a photo of a cat', 'Ünïcödé, 12 naïve façades & <|endoftext|> 🐈‍⬛!', 'supercalifragilistic'];
  const ids = (tokenizer: CLIPTokenizer) => [...tokenizer.encode(prompts, { padTokenId: 0 }).inputIds];
  expect(ids(own)).toEqual(ids(read));
  expect([(await standardTokenizer('!')).padTokenId, own.padTokenId, own.eosTokenId]).toEqual([0, 49407, 49407]);
});
