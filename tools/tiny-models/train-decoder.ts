// npm run tiny-decoder -w tools -- --emoji FOLDER [--minutes 20 --from FOLDER --output FOLDER]
// Trains a tiny autoencoder (AutoencoderTiny) for the embedded model: its decoder learns what the model's own decoder
// makes of latents, its encoder what the model's own encoder makes of pictures. FOLDER is the unpacked npm package
// emoji-datasource-google; --minutes are CPU time, and --from goes on with a model.
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { add, dispose, mean, square, sub, tensor, variable, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import {
  flattenTensors,
  mapTensors,
  OnnxRuntimeEngine,
  random,
  readValues,
  trainable,
  useBackend,
  type Params,
  type TorchGenerator,
} from '@alignprop/autograd-ext';
import { initParams, saveSafetensors, writeFileAtomic } from '@alignprop/autograd-ext/weights';
import { AutoencoderTiny, StableDiffusionPipeline, tinyDecode, tinyEncode } from '@alignprop/diffusion';
import { parseAlignPropConfig } from '@alignprop/trainer';
import { embeddedModel } from '../../packages/cli/src/embedded-model.js';
// eslint-disable-next-line @nx/enforce-module-boundaries -- the optimizer is no part of the trainer's interface
import { createOptimizer } from '../../packages/trainer/src/optim/create-optimizer.js';
import { decoderPairs, stacked, type Pair } from './decoder-pairs.js';
import { emojiPictures } from './emoji-pictures.js';

const { values: flags } = parseArgs({
  options: {
    emoji: { type: 'string' },
    minutes: { type: 'string', default: '20' },
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
const batchSize = 8;
const heldOut = 64;
const [highestRate, lowestRate] = [2e-3, 1e-4];

await useBackend('wasm');
const engine = new OnnxRuntimeEngine({ threads: Number(flags.threads) });
const pipeline = await StableDiffusionPipeline.fromPretrained(embeddedModel.path, { engine });
const generator = random(0);
const pictures = shuffled(await emojiPictures(flags.emoji), generator);
const pairs = await decoderPairs(pipeline, pictures, generator);
console.log(`${pairs.length} pictures, of which ${heldOut} are held out`);
const model = new AutoencoderTiny(config, flags.from ? await readParams(flags.from) : initialParams(generator));
await trainModel(model, pairs.slice(heldOut), Number(flags.minutes) * 60_000);
await saveHalf(flags.output);

async function trainModel({ params }: AutoencoderTiny, training: readonly Pair[], duration: number): Promise<void> {
  const variables = trainable(params);
  const optimizer = createOptimizer(variables, parseAlignPropConfig({ train_adam_weight_decay: 0 }));
  const lossVjp = engine.compileVjp(loss);
  const started = process.cpuUsage();
  let sum = 0;
  for (let step = 1, share = 0; share < 1; step++) {
    const batch = Array.from({ length: batchSize }, () => training[generator.randint(0, training.length, 1)[0]!]!);
    const inputs = batchInputs(batch, step);
    const { value, params: gradients } = await lossVjp(params, inputs);
    sum += (await value.data())[0]!;
    const { user, system } = process.cpuUsage(started);
    share = (user + system) / 1000 / duration;
    optimizer.step(gradients, lowestRate + ((highestRate - lowestRate) * (1 + Math.cos(Math.PI * share))) / 2);
    dispose([value, gradients, inputs]);
    if (step % 100 > 0 && share < 1) continue;
    const held = await heldOutLoss();
    console.log(
      `step ${step}: loss ${(sum / 100).toFixed(5)}, held out ${held.toFixed(5)}, ${(100 * share).toFixed(0)} %`,
    );
    sum = 0;
  }
}

/** The squared errors of decoder and encoder. */
function loss(params: Params, latents?: Tensor, decoded?: Tensor, picture?: Tensor, encoded?: Tensor): Tensor {
  const { config: full } = model;
  const error = mean(square(sub(tinyDecode(full, params, latents as Tensor4D), decoded!)));
  return add(error, mean(square(sub(tinyEncode(full, params, picture as Tensor4D), encoded!))));
}

/** The inputs of `loss`: latents without noise in every other step. */
function batchInputs(batch: readonly Pair[], step: number): Tensor[] {
  const kind = (step % 2) as 0 | 1;
  return [
    stacked(
      batch.map(({ latents }) => latents[kind]),
      [16, 16, 4],
    ),
    stacked(
      batch.map(({ decoded }) => decoded[kind]),
      [64, 64, 3],
    ),
    stacked(
      batch.map(({ picture }) => picture),
      [64, 64, 3],
    ),
    stacked(
      batch.map(({ latents }) => latents[0]),
      [16, 16, 4],
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
async function saveHalf(folder: string): Promise<void> {
  const halves = await Promise.all(
    Object.entries(flattenTensors(model.params)).map(async ([path, weight]) => {
      const data = await (weight as Tensor).data<'float32'>();
      return [path, { dtype: 'F16', shape: weight.shape, data }] as const;
    }),
  );
  await saveSafetensors(`${folder}/diffusion_pytorch_model.safetensors`, Object.fromEntries(halves), { format: 'pt' });
  const json = { _class_name: 'AutoencoderTiny', ...model.config };
  await writeFileAtomic(`${folder}/config.json`, `${JSON.stringify(json, null, 2)}\n`);
}

function shuffled<T>(values: readonly T[], source: TorchGenerator): readonly T[] {
  const order = [...source.randn(values.length)].map((key, index) => ({ key, index })).sort((a, b) => a.key - b.key);
  return order.map(({ index }) => values[index]!);
}
