import { readdirSync, readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { TfjsEngine, useBackend, type Engine } from '@alignprop/autograd-ext';
import { memory } from '@alignprop/autograd-ext/weights';
import { fixtureJson, fixturePath } from '../../../../fixtures/index.js';
import { StableDiffusionPipeline } from './stable-diffusion.js';

const root = fixturePath('sd2-tiny/model');
const paths = readdirSync(root, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => `${entry.parentPath}/${entry.name}`.slice(root.length + 1));
const files = Object.fromEntries(paths.map((path) => [path, new Uint8Array(readFileSync(`${root}/${path}`))]));

let engine: Engine;
beforeAll(async () => {
  await useBackend('wasm');
  engine = new TfjsEngine();
});

/** Opens the files of a small model with some of them changed; undefined removes a file. */
function open(
  changes: Readonly<Record<string, Uint8Array | string | undefined>>,
  options: { variant?: string; onWarning?: (message: string) => void } = {},
): Promise<StableDiffusionPipeline> {
  const entries = Object.entries({ ...files, ...changes }).filter(
    (entry): entry is [string, Uint8Array | string] => entry[1] !== undefined,
  );
  return StableDiffusionPipeline.fromPretrained(memory(Object.fromEntries(entries), 'a-model'), { engine, ...options });
}

const withJson = (path: string, change: object) => ({
  [path]: JSON.stringify({ ...fixtureJson(`sd2-tiny/model/${path}`), ...change }),
});
const none = [null, null];

describe('model_index.json', () => {
  it.each<[string, object]>([
    ['CLIPTokenizerFast', { tokenizer: ['transformers', 'CLIPTokenizerFast'] }],
    ['a safety checker', { safety_checker: ['stable_diffusion', 'StableDiffusionSafetyChecker'] }],
    ['no safety checker, in either spelling', { safety_checker: none, feature_extractor: null }],
    ['an image encoder', { image_encoder: ['transformers', 'CLIPVisionModelWithProjection'] }],
    ['requires_safety_checker', { requires_safety_checker: null }],
    ['a class of pipeline with the same parts', { _class_name: 'StableDiffusionImg2ImgPipeline' }],
    ['a ControlNet, which text-to-image does not use', { controlnet: ['diffusers', 'ControlNetModel'] }],
    ['a second text encoder that is null', { text_encoder_2: none }],
    ['an unknown entry', { more: ['a', 'B'], other: 3 }],
    ['other libraries', { unet: ['diffusers.models', 'UNet2DConditionModel'] }],
  ])('may have %s', async (_, change) => {
    await expect(open(withJson('model_index.json', change))).resolves.toBeInstanceOf(StableDiffusionPipeline);
  });

  it.each<[object, RegExp]>([
    [
      { _class_name: 'StableDiffusionXLPipeline', text_encoder_2: ['transformers', 'CLIPTextModelWithProjection'] },
      /\(StableDiffusionXLPipeline\): tokenizer_2 got nothing, expected CLIPTokenizer or CLIPTokenizerFast/,
    ],
    [
      { unet: undefined, transformer: ['diffusers', 'FluxTransformer2DModel'] },
      /unet got nothing, expected UNet2DConditionModel; transformer got FluxTransformer2DModel, expected nothing/,
    ],
    [{ unet: none }, /unet got nothing, expected UNet2DConditionModel/],
    [
      { vae: ['diffusers', 'AsymmetricAutoencoderKL'] },
      /vae got AsymmetricAutoencoderKL, expected AutoencoderKL or AutoencoderTiny/,
    ],
    [
      { text_encoder: ['transformers', 'RobertaSeriesModelWithTransformation'] },
      /text_encoder got RobertaSeriesModelWithTransformation, expected CLIPTextModel/,
    ],
    [
      { tokenizer: ['transformers', 'XLMRobertaTokenizer'] },
      /tokenizer got XLMRobertaTokenizer, expected CLIPTokenizer or CLIPTokenizerFast\. Only Stable Diffusion 1/,
    ],
    [
      { unet: ['diffusers', 'FlaxUNet2DConditionModel'] },
      /unet got FlaxUNet2DConditionModel, .* Its weights are Flax's: take the model's files for PyTorch/,
    ],
    [{ unet: ['diffusers', 'OnnxRuntimeModel'] }, /It was exported to ONNX: take the model that it was exported from/],
  ])('is refused with %o', async (change, message) => {
    await expect(open(withJson('model_index.json', change))).rejects.toThrow(message);
  });

  it.each<[string, Record<string, string>, RegExp]>([
    ['a model alone', { 'config.json': '{"_class_name": "ControlNetModel"}' }, /it holds a ControlNetModel alone/],
    ['a model of transformers', { 'config.json': '{"architectures": ["CLIPModel"]}' }, /it holds a CLIPModel alone/],
    ['an adapter', { 'pytorch_lora_weights.safetensors': '' }, /it holds an adapter, expected a pipeline/],
    ['a checkpoint', { 'v1-5.safetensors': '' }, /there is v1-5\.safetensors\..*fromSingleFile\('a-folder\/v1-5\.safe/],
    ['other files', { 'a.txt': '' }, /there is a\.txt\. Check the path/],
    ['no file', {}, /there is no file\. Check the path/],
    ['a list', { 'model_index.json': '[]' }, /model_index\.json' in '.*' got \[\], expected an object/],
  ])('is asked for in a folder with %s', async (_, changed, message) => {
    await expect(StableDiffusionPipeline.fromPretrained(memory(changed, 'a-folder'), { engine })).rejects.toThrow(
      message,
    );
  });
});

describe('a UNet of another kind', () => {
  it.each<[object, RegExp]>([
    [{ in_channels: 9 }, /in_channels got 9, expected 4, the VAE's latent_channels: it is an inpainting UNet/],
    [{ in_channels: 8 }, /in_channels got 8, expected 4, .*: it is a UNet that edits images \(InstructPix2Pix/],
    [{ in_channels: 7, num_class_embeds: 1000 }, /in_channels got 7, expected 4, .*: it is an upscaler/],
    [{ in_channels: 5 }, /in_channels got 5, expected 4, .*: it is a depth-to-image UNet/],
    [{ in_channels: 12 }, /in_channels got 12, expected 4, the VAE's latent_channels\. Only text-to-image UNets/],
    [{ out_channels: 8 }, /out_channels got 8, expected 4/],
    [{ addition_embed_type: 'text_time' }, /addition_time_embed_dim got null, expected a positive integer/],
    [
      { addition_embed_type: 'text_time', addition_time_embed_dim: 8, projection_class_embeddings_input_dim: 64 },
      /projection_class_embeddings_input_dim got 64, expected nothing/,
    ],
    [{ addition_embed_type: 'image' }, /addition_embed_type got "image", expected null or "text_time"/],
    [{ encoder_hid_dim_type: 'text_proj' }, /encoder_hid_dim_type got "text_proj", expected null: .*Kandinsky/],
    [{ class_embed_type: 'projection' }, /class_embed_type got "projection", expected null: .*unCLIP/],
    [{ num_class_embeds: 1000 }, /num_class_embeds got 1000, expected null: .*upscalers/],
    [{ cross_attention_dim: 768 }, /cross_attention_dim got 768, expected 32, the hidden_size of the text encoder/],
    [{ conv_in_kernel: 1 }, /conv_in_kernel got 1, expected 3/],
  ])('is refused by its config %o, without its weights', async (change, message) => {
    const opening = open({
      ...withJson('unet/config.json', change),
      'unet/diffusion_pytorch_model.safetensors': undefined,
    });
    await expect(opening).rejects.toThrow(message);
  });

  it('is refused in a folder of SDXL, without its weights', async () => {
    const parts = ['unet', 'vae', 'text_encoder', 'text_encoder_2'].map((part) => `${part}/config.json`);
    const configs = Object.fromEntries(
      ['model_index.json', ...parts].map((path) => [path, fixtureJson<object>(`sdxl-tiny/model/${path}`)]),
    );
    const changed = { ...configs, 'unet/config.json': { ...configs['unet/config.json'], in_channels: 9 } };
    const texts = Object.entries(changed).map(([path, value]) => [path, JSON.stringify(value)]);
    await expect(
      StableDiffusionPipeline.fromPretrained(memory(Object.fromEntries(texts) as Record<string, string>), { engine }),
    ).rejects.toThrow(/unet\/config\.json: in_channels got 9, expected 4, .*: it is an inpainting UNet/);
  });

  it('is refused as a part of a pipeline', async () => {
    const pipeline = await open({});
    const { unet } = pipeline;
    const inpainting = { ...unet, config: { ...unet.config, in_channels: 9 }, withParams: () => unet };
    expect(() => pipeline.with({ unet: inpainting })).toThrow(/in_channels got 9, expected 4/);
  });
});

describe('a tokenizer of longer prompts than the text encoder takes', () => {
  it('is refused with both lengths', async () => {
    await expect(open(withJson('tokenizer/tokenizer_config.json', { model_max_length: 100 }))).rejects.toThrow(
      /model_max_length got 100, expected at most 77, the text encoder's max_position_embeddings/,
    );
  });
});

describe('a UNet without sample_size', () => {
  it.each([{ sample_size: null }, { sample_size: undefined }])('needs the size of images: %o', async (change) => {
    const pipeline = await open(withJson('unet/config.json', change));
    expect(() => pipeline.latentShape({ batch: 1 })).toThrow(/sample_size .* got null.* Pass height and width\./);
    expect(pipeline.latentShape({ batch: 1, height: 16, width: 24 })).toEqual([1, 4, 6, 4]);
  });
});

describe('a variant of the weights', () => {
  const rename = (from: string, to: string) => ({ [from]: undefined, [to]: files[from] });
  const textEncoder = rename('text_encoder/model.safetensors', 'text_encoder/model.fp16.safetensors');
  const vae = (name: string) => rename('vae/diffusion_pytorch_model.safetensors', `vae/${name}`);
  const unet = rename('unet/diffusion_pytorch_model.safetensors', 'unet/diffusion_pytorch_model.fp16.safetensors');

  it('is loaded where there are such files, and the plain files elsewhere, with a warning', async () => {
    const warnings: string[] = [];
    const changes = { ...textEncoder, ...vae('diffusion_pytorch_model.fp16.safetensors') };
    await open(changes, { variant: 'fp16', onWarning: (message) => warnings.push(message) });
    expect(warnings).toEqual([
      "'a-model' has no files of variant 'fp16' for unet: the files without a variant are loaded there.",
    ]);
  });

  it('is loaded without a warning where every model has it', async () => {
    const warnings: string[] = [];
    const changes = { ...textEncoder, ...unet, ...vae('diffusion_pytorch_model.fp16.safetensors') };
    await open(changes, { variant: 'fp16', onWarning: (message) => warnings.push(message) });
    expect(warnings).toEqual([]);
  });

  it('is refused where no model has it, and asked for where only it is there', async () => {
    await expect(open(textEncoder, { variant: 'bf16' })).rejects.toThrow(
      /variant got 'bf16', but no part of 'a-model' has such files/,
    );
    await expect(open(textEncoder)).rejects.toThrow(/Pass variant 'fp16'/);
  });

  it.each([
    ['diffusion_pytorch_model.safetensors.index.fp16.json', 'diffusion_pytorch_model.fp16-00001-of-00001.safetensors'],
    ['diffusion_pytorch_model.safetensors.fp16.index.json', 'diffusion_pytorch_model-00001-of-00001.fp16.safetensors'],
  ])('may be in shards, named by %s', async (index, shard) => {
    const keys = Object.keys(fixtureHeader(files['vae/diffusion_pytorch_model.safetensors']!));
    const weightMap = Object.fromEntries(keys.map((key) => [key, shard]));
    const changes = { ...vae(shard), [`vae/${index}`]: JSON.stringify({ weight_map: weightMap }) };
    await expect(open(changes, { variant: 'fp16' })).resolves.toBeInstanceOf(StableDiffusionPipeline);
  });

  function fixtureHeader(bytes: Uint8Array): Record<string, unknown> {
    const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
    const { __metadata__: _, ...tensors } = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    return tensors;
  }
});
