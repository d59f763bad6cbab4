// npm run tiny-decoder -w tools -- --emoji FOLDER [--minutes 20 --pictures 2000 --from FOLDER --output FOLDER]
// Trains a tiny autoencoder (AutoencoderTiny) for the embedded model: its decoder learns what the model's own decoder
// makes of latents, its encoder what the model's own encoder makes of pictures. FOLDER is the unpacked npm package
// emoji-datasource-google; --minutes are CPU time, and --from goes on with a model.
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { dispose, mean, square, sub, tensor, variable, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import {
  flattenTensors,
  mapTensors,
  OnnxRuntimeEngine,
  random,
  readValues,
  useBackend,
  type Params,
  type TorchGenerator,
} from '@alignprop/autograd-ext';
import { initParams, writeFileAtomic } from '@alignprop/autograd-ext/weights';
import { AutoencoderTiny, StableDiffusionPipeline, tinyDecode, tinyEncode } from '@alignprop/diffusion';
import { embeddedModel } from '../../packages/cli/src/embedded-model.js';
import { decoderPairs, type Pair } from './decoder-pairs.js';
import { emojiPictures, shuffled } from './emoji-pictures.js';
import { saveHalf } from './half-file.js';
import { stacked } from './rows.js';
import { cosineRate, trainedLoss } from './trained-loss.js';

const { values: flags } = parseArgs({
  options: {
    emoji: { type: 'string' },
    minutes: { type: 'string', default: '20' },
    pictures: { type: 'string', default: '2000' },
    from: { type: 'string' },
    threads: { type: 'string', default: '1' },
    output: { type: 'string', default: join(embeddedModel.path, 'tiny-vae') },
  },
});
if (!flags.emoji) throw new Error('tiny-decoder: --emoji got nothing, expected the folder of emoji-datasource-google.');

/** Two upsamplings, as the model's own decoder has; an encoder of a third of the size, which the rewards do not use. */
const config = {
  latent_channels: 4,
  decoder_block_out_channels: [24, 24, 24],
  num_decoder_blocks: [3, 2, 1],
  encoder_block_out_channels: [16, 16, 16],
  num_encoder_blocks: [1, 1, 1],
  scaling_factor: 1,
};
const batchSize = 4;
/** Steps to one of the encoder, which nothing but the format of the file needs. */
const encoderInterval = 4;
const heldOut = 64;
const latentShape = [16, 16, 4] as const;
const imageShape = [64, 64, 3] as const;
const rates = [2e-3, 1e-4] as const;

await useBackend('wasm');
const engine = new OnnxRuntimeEngine({ threads: Number(flags.threads) });
const pipeline = await StableDiffusionPipeline.fromPretrained(embeddedModel.path, { engine });
const generator = random(0);
const pictures = shuffled(await emojiPictures(flags.emoji), generator).slice(0, Number(flags.pictures));
const pairs = await decoderPairs(pipeline, pictures, generator);
console.log(`${pairs.length} pictures, of which ${heldOut} are held out`);
const model = new AutoencoderTiny(config, flags.from ? await readParams(flags.from) : initialParams(generator));
await trainModel(model, pairs.slice(heldOut), Number(flags.minutes) * 60_000);
await saveModel(flags.output);

async function trainModel({ params }: AutoencoderTiny, training: readonly Pair[], duration: number): Promise<void> {
  const { decoder, encoder } = params as Record<'decoder' | 'encoder', Params>;
  const trainers = {
    decoder: trainedLoss(engine, { decoder }, decoderLoss),
    encoder: trainedLoss(engine, { encoder }, encoderLoss),
  };
  const started = process.cpuUsage();
  for (let step = 1, share = 0, sum = 0; share < 1; step++) {
    const batch = Array.from({ length: batchSize }, () => training[generator.randint(0, training.length, 1)[0]!]!);
    const rate = cosineRate(share, rates);
    sum += await trainers.decoder(decoderBatch(batch, step % 2 === 0 ? 0 : 1), rate);
    if (step % encoderInterval === 0) await trainers.encoder(encoderBatch(batch), rate);
    const { user, system } = process.cpuUsage(started);
    share = (user + system) / 1000 / duration;
    if (step % 100 > 0 && share < 1) continue;
    const held = (await heldOutLoss()).toFixed(5);
    console.log(`step ${step}: loss ${(sum / 100).toFixed(5)}, held out ${held}, ${(100 * share).toFixed(0)} %`);
    sum = 0;
  }
}

/** The squared error of images. */
function decoderLoss(params: Params, latents?: Tensor, decoded?: Tensor): Tensor {
  return mean(square(sub(tinyDecode(model.config, params, latents as Tensor4D), decoded!)));
}

/** The squared error of latents. */
function encoderLoss(params: Params, pictures?: Tensor, latents?: Tensor): Tensor {
  return mean(square(sub(tinyEncode(model.config, params, pictures as Tensor4D), latents!)));
}

/** The inputs of `decoderLoss`: latents without noise (0) or with it (1). */
function decoderBatch(batch: readonly Pair[], kind: 0 | 1): Tensor[] {
  const latents = batch.map((pair) => pair.latents[kind]);
  return [
    stacked(latents, latentShape),
    stacked(
      batch.map(({ decoded }) => decoded[kind]),
      imageShape,
    ),
  ];
}

/** The inputs of `encoderLoss`. */
function encoderBatch(batch: readonly Pair[]): Tensor[] {
  const pictures = batch.map(({ picture }) => picture);
  return [
    stacked(pictures, imageShape),
    stacked(
      batch.map(({ latents }) => latents[0]),
      latentShape,
    ),
  ];
}

/** The squared error of the decoder on the held-out pictures. */
async function heldOutLoss(): Promise<number> {
  const decode = engine.compile((params, latents) => tinyDecode(model.config, params, latents as Tensor4D));
  const held = pairs.slice(0, heldOut);
  const latents = stacked(
    held.map((pair) => pair.latents[0]),
    [16, 16, 4],
  );
  const [decoded] = await decode(model.params, latents);
  const expected = stacked(
    held.map((pair) => pair.decoded[0]),
    [64, 64, 3],
  );
  const error = mean(square(sub(decoded!, expected)));
  const [value] = await error.data();
  dispose([latents, decoded!, expected, error]);
  return value!;
}

/** Normal weights that keep the variance behind a ReLU (arXiv 1502.01852); the last convolution of a block is small. */
function initialParams(source: TorchGenerator): Params {
  return initParams(AutoencoderTiny.spec(config), (path, shape) => {
    const fanIn = shape.slice(1).reduce((product, size) => product * size, 1);
    const deviation = path.endsWith('bias') ? 0 : Math.sqrt(2 / fanIn) * (path.includes('conv.4') ? 0.2 : 1);
    const size = shape.reduce((product, length) => product * length, 1);
    return variable(
      tensor(
        source.randn(size).map((value) => value * deviation),
        [...shape],
      ),
    );
  });
}

/** Copies the weights of a model into variables. */
async function readParams(folder: string): Promise<Params> {
  const { params } = await AutoencoderTiny.fromPretrained(folder);
  const values = new Map<string, Float32Array>();
  for (const [path, leaf] of Object.entries(flattenTensors(params)))
    values.set(path, (await readValues(leaf)) as Float32Array);
  return mapTensors(params, (path, { shape }) => variable(tensor(values.get(path)!, [...shape])));
}

/** Writes the model in float16. */
async function saveModel(folder: string): Promise<void> {
  await saveHalf(
    `${folder}/diffusion_pytorch_model.safetensors`,
    flattenTensors(model.params) as Record<string, Tensor>,
  );
  const json = { _class_name: 'AutoencoderTiny', ...model.config };
  await writeFileAtomic(`${folder}/config.json`, `${JSON.stringify(json, null, 2)}\n`);
}
