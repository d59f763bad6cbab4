// node --conditions=@alignprop/source --import tsx --import ./tools/run-sources/register.mjs \
//   tools/bench/random-stable-diffusion.ts FOLDER [sd15|sd-turbo|sdxl|taesd]
// Writes a pipeline with the shapes of a published model and random weights, for measurements of speed and memory:
// Stable Diffusion 1.5 (float32, 4.3 GB), SD-Turbo (float16, 2.6 GB) or SDXL (float16, 6.9 GB); or TAESD, a tiny
// autoencoder (float32, 10 MB). One tensor at a time is in memory.
import { fileURLToPath } from 'node:url';
import { elementCount, ensureBackend, random, TfjsEngine, type StoredTensor } from '@alignprop/autograd-ext';
import { initParams } from '@alignprop/autograd-ext/weights';
import {
  AutoencoderKL,
  AutoencoderTiny,
  CLIPTextModel,
  CLIPTextModelWithProjection,
  CLIPTokenizer,
  createScheduler,
  saveModel,
  savePipeline,
  UNet2DConditionModel,
} from '@alignprop/diffusion';

const crossed = (count: number, side: string): string[] => Array<string>(count).fill(`CrossAttn${side}Block2D`);

/** The UNet of Stable Diffusion 1.5. */
const unet = {
  sample_size: 64,
  layers_per_block: 2,
  block_out_channels: [320, 640, 1280, 1280],
  down_block_types: [...crossed(3, 'Down'), 'DownBlock2D'],
  up_block_types: ['UpBlock2D', ...crossed(3, 'Up')],
  cross_attention_dim: 768,
  attention_head_dim: 8 as number | number[],
};
/** CLIP ViT-L/14. */
const textL = {
  vocab_size: 49408,
  hidden_size: 768,
  intermediate_size: 3072,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  hidden_act: 'quick_gelu',
  eos_token_id: 2,
  projection_dim: 768,
};
const vae = {
  latent_channels: 4,
  layers_per_block: 2,
  block_out_channels: [128, 256, 512, 512],
  down_block_types: Array<string>(4).fill('DownEncoderBlock2D'),
  up_block_types: Array<string>(4).fill('UpDecoderBlock2D'),
};
const noiseSchedule = {
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: 'scaled_linear',
  num_train_timesteps: 1000,
  steps_offset: 1,
};

const models = {
  sd15: {
    dtype: 'F32',
    unet,
    vae,
    text: textL,
    scheduler: {
      ...noiseSchedule,
      ...{ _class_name: 'PNDMScheduler', clip_sample: false, set_alpha_to_one: false, skip_prk_steps: true },
    },
  },
  'sd-turbo': {
    dtype: 'F16',
    unet: { ...unet, attention_head_dim: [5, 10, 20, 20], cross_attention_dim: 1024, use_linear_projection: true },
    vae,
    text: {
      ...textL,
      ...{ hidden_size: 1024, intermediate_size: 4096, num_hidden_layers: 23, num_attention_heads: 16 },
      ...{ hidden_act: 'gelu', projection_dim: 512 },
    },
    scheduler: { ...noiseSchedule, _class_name: 'EulerDiscreteScheduler', timestep_spacing: 'trailing' },
  },
  sdxl: {
    dtype: 'F16',
    unet: {
      ...unet,
      sample_size: 128,
      block_out_channels: [320, 640, 1280],
      down_block_types: ['DownBlock2D', ...crossed(2, 'Down')],
      up_block_types: [...crossed(2, 'Up'), 'UpBlock2D'],
      transformer_layers_per_block: [1, 2, 10],
      attention_head_dim: [5, 10, 20],
      cross_attention_dim: 2048,
      use_linear_projection: true,
      addition_embed_type: 'text_time',
      addition_time_embed_dim: 256,
      projection_class_embeddings_input_dim: 2816,
    },
    vae: { ...vae, scaling_factor: 0.13025 },
    text: textL,
    text2: {
      ...textL,
      ...{ hidden_size: 1280, intermediate_size: 5120, num_hidden_layers: 32, num_attention_heads: 20 },
      ...{ hidden_act: 'gelu', projection_dim: 1280 },
    },
    scheduler: { ...noiseSchedule, _class_name: 'EulerDiscreteScheduler', timestep_spacing: 'leading' },
  },
} as const;

/** Normal numbers that are repeated: the values do not matter as long as activations stay finite. */
const noise = random(0).randn(1 << 20);

/** Fills norms with ones and biases with zeros; matrices preserve the variance of their input. */
function valuesOf(path: string, shape: readonly number[]): Float32Array {
  const size = elementCount(shape);
  if (shape.length === 1) return new Float32Array(size).fill(path.endsWith('bias') ? 0 : 1);
  const scale = 1 / Math.sqrt(elementCount(shape.slice(1)));
  const block = noise.map((value) => value * scale);
  const values = new Float32Array(size);
  for (let at = 0; at < size; at += block.length) values.set(block.subarray(0, Math.min(block.length, size - at)), at);
  return values;
}

/** Makes TAESD with random weights: the fields of its config have these defaults. */
async function writeTinyAutoencoder(folder: string): Promise<void> {
  await ensureBackend();
  const spec = AutoencoderTiny.spec({});
  const leaf = (path: string, shape: readonly number[]): StoredTensor => ({
    shape,
    dtype: 'F32',
    read: async () => valuesOf(path, shape),
  });
  await saveModel(folder, 'AutoencoderTiny', new AutoencoderTiny({}, initParams(spec, leaf)));
}

async function writePipeline(folder: string, name: keyof typeof models): Promise<void> {
  await ensureBackend();
  const { dtype, scheduler, ...configs } = models[name];
  const leaf = (path: string, shape: readonly number[]): StoredTensor => ({
    shape,
    dtype,
    read: async () => valuesOf(path, shape),
  });
  const model = <C, M>(kind: { new (config: C, params: never): M; spec(config: C): never }, config: C): M =>
    new kind(config, initParams(kind.spec(config), leaf) as never);
  const tokenizer = await CLIPTokenizer.fromPretrained(
    fileURLToPath(new URL('../../fixtures/sd15-tiny/model/tokenizer', import.meta.url)),
  );
  const { files } = tokenizer;
  const paddedWith0 = new CLIPTokenizer({ ...files, ids: { ...files.ids, pad: 0 } });
  await savePipeline(folder, {
    tokenizer: name === 'sd-turbo' ? paddedWith0 : tokenizer,
    textEncoder: model(CLIPTextModel as never, configs.text as never),
    ...('text2' in configs && {
      tokenizer2: paddedWith0,
      textEncoder2: model(CLIPTextModelWithProjection as never, configs.text2 as never),
    }),
    unet: model(UNet2DConditionModel as never, configs.unet as never),
    vae: model(AutoencoderKL as never, configs.vae as never),
    scheduler: createScheduler(scheduler),
    engine: new TfjsEngine(),
  });
}

const [folder = 'random-sd15', name = 'sd15'] = process.argv.slice(2);
if (name === 'taesd') await writeTinyAutoencoder(folder);
else if (Object.hasOwn(models, name)) await writePipeline(folder, name as keyof typeof models);
else
  throw new Error(`random-stable-diffusion: model got '${name}', expected ${Object.keys(models).join(', ')} or taesd.`);
