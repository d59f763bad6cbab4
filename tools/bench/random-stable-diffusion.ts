// tsx tools/bench/random-stable-diffusion.ts FOLDER Writes a pipeline with Stable Diffusion 1.5's shapes and random
// float32 weights (4.3 GB), for measurements of speed and memory.
import { copyFileSync, mkdirSync, openSync, writeFileSync, writeSync, closeSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { random } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import { AutoencoderKL, UNet2DConditionModel } from '@alignprop/diffusion';
import { CLIPTextModel } from '@alignprop/diffusion/clip';

const unet = {
  _class_name: 'UNet2DConditionModel',
  sample_size: 64,
  in_channels: 4,
  out_channels: 4,
  layers_per_block: 2,
  block_out_channels: [320, 640, 1280, 1280],
  down_block_types: ['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D'],
  up_block_types: ['UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D'],
  cross_attention_dim: 768,
  attention_head_dim: 8,
  norm_num_groups: 32,
  norm_eps: 1e-5,
  act_fn: 'silu',
  flip_sin_to_cos: true,
  freq_shift: 0,
};
const vae = {
  _class_name: 'AutoencoderKL',
  sample_size: 512,
  in_channels: 3,
  out_channels: 3,
  latent_channels: 4,
  layers_per_block: 2,
  block_out_channels: [128, 256, 512, 512],
  down_block_types: Array<string>(4).fill('DownEncoderBlock2D'),
  up_block_types: Array<string>(4).fill('UpDecoderBlock2D'),
  norm_num_groups: 32,
  act_fn: 'silu',
};
const textEncoder = {
  architectures: ['CLIPTextModel'],
  vocab_size: 49408,
  hidden_size: 768,
  intermediate_size: 3072,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  max_position_embeddings: 77,
  hidden_act: 'quick_gelu',
  layer_norm_eps: 1e-5,
  bos_token_id: 0,
  eos_token_id: 2,
  pad_token_id: 1,
  projection_dim: 768,
};
const scheduler = {
  _class_name: 'PNDMScheduler',
  beta_start: 0.00085,
  beta_end: 0.012,
  beta_schedule: 'scaled_linear',
  num_train_timesteps: 1000,
  clip_sample: false,
  set_alpha_to_one: false,
  skip_prk_steps: true,
  steps_offset: 1,
};
const index = {
  _class_name: 'StableDiffusionPipeline',
  scheduler: ['diffusers', 'PNDMScheduler'],
  text_encoder: ['transformers', 'CLIPTextModel'],
  tokenizer: ['transformers', 'CLIPTokenizer'],
  unet: ['diffusers', 'UNet2DConditionModel'],
  vae: ['diffusers', 'AutoencoderKL'],
};

/** Repeats a block of normal numbers: the values do not matter as long as activations stay finite. */
const noise = random(0).randn(1 << 20);

writePipeline(process.argv[2] ?? 'random-sd15');

function writePipeline(folder: string): void {
  const write = (path: string, value: unknown) => writeFileSync(join(folder, path), JSON.stringify(value, null, 2));
  for (const part of ['unet', 'vae', 'text_encoder', 'tokenizer', 'scheduler'])
    mkdirSync(join(folder, part), { recursive: true });
  write('model_index.json', index);
  write('scheduler/scheduler_config.json', scheduler);
  const tokenizer = fileURLToPath(new URL('../../fixtures/sd15-tiny/model/tokenizer', import.meta.url));
  for (const file of readdirSync(tokenizer)) copyFileSync(join(tokenizer, file), join(folder, 'tokenizer', file));
  const models = [
    ['unet', unet, UNet2DConditionModel.spec(unet), 'diffusion_pytorch_model'],
    ['vae', vae, AutoencoderKL.spec(vae), 'diffusion_pytorch_model'],
    ['text_encoder', textEncoder, CLIPTextModel.spec(textEncoder), 'model'],
  ] as const;
  for (const [part, config, spec, file] of models) {
    write(`${part}/config.json`, config);
    writeWeights(join(folder, part, `${file}.safetensors`), [...shapesOf(spec)]);
  }
}

function* shapesOf(spec: ParamsSpec, path = ''): Generator<readonly [string, readonly number[]]> {
  const { shape } = spec as { shape?: readonly number[] };
  if (Array.isArray(shape) && typeof (shape as unknown[])[0] !== 'object') yield [path, shape as readonly number[]];
  else
    for (const [key, child] of Object.entries(spec))
      yield* shapesOf(child as ParamsSpec, path ? `${path}.${key}` : key);
}

function writeWeights(path: string, shapes: readonly (readonly [string, readonly number[]])[]): void {
  let end = 0;
  const bytes = (shape: readonly number[]) => 4 * shape.reduce((a, b) => a * b, 1);
  const header = Object.fromEntries(
    shapes.map(([name, shape]) => [name, { dtype: 'F32', shape, data_offsets: [end, (end += bytes(shape))] }]),
  );
  const text = JSON.stringify(header);
  const padded = text.padEnd(Math.ceil(text.length / 8) * 8);
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(BigInt(padded.length));
  const file = openSync(path, 'w');
  writeSync(file, prefix);
  writeSync(file, padded);
  for (const [name, shape] of shapes) writeSync(file, Buffer.from(valuesOf(name, shape).buffer));
  closeSync(file);
}

/** Fills norms with ones and biases with zeros; matrices preserve the variance of their input. */
function valuesOf(name: string, shape: readonly number[]): Float32Array {
  const size = shape.reduce((a, b) => a * b, 1);
  if (shape.length === 1) return new Float32Array(size).fill(name.endsWith('bias') ? 0 : 1);
  const scale = 1 / Math.sqrt(shape.slice(1).reduce((a, b) => a * b, 1));
  const block = noise.map((value) => value * scale);
  const values = new Float32Array(size);
  for (let at = 0; at < size; at += block.length) values.set(block.subarray(0, Math.min(block.length, size - at)), at);
  return values;
}
