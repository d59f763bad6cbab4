import { appendFileSync, existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tensor1d, type Tensor4D } from '@tensorflow/tfjs-core';
import { OnnxRuntimeEngine, random, useBackend } from '@alignprop/autograd-ext';
import { StableDiffusionPipeline, toUint8 } from '@alignprop/diffusion';
import { jpegCompressibility, jpegSize } from '@alignprop/rewards';
import {
  AlignPropTrainer,
  DDPOTrainer,
  evaluator,
  parseAlignPropConfig,
  type AlignPropConfigInput,
  type DDPOConfigInput,
  type PromptFunction,
} from '@alignprop/trainer';
import { embeddedModel } from '../../packages/cli/src/embedded-model.js';
import { countingEngine } from './counting-engine.js';

/** A trainer with its options, the reward queries it runs for, and the queries between evaluations. */
export type Method = { readonly evalEvery: number; readonly queries: number } & (
  | { readonly trainer: 'alignprop'; readonly config: AlignPropConfigInput }
  | {
      readonly trainer: 'ddpo';
      readonly config: DDPOConfigInput;
      /** Draws rewards at random, as a control: nothing can be learnt from them. */
      readonly control?: boolean;
    }
);

/** An evaluation on held-out prompts, and the cost of training up to it, without that of evaluations. */
export interface Row {
  /** Images judged in training. */
  readonly queries: number;
  /** Calls of the UNet and of its gradient, counted per image. */
  readonly forward: number;
  readonly backward: number;
  readonly seconds: number;
  /** CPU time of the process: other load on the machine disturbs it less than `seconds`. */
  readonly cpuSeconds: number;
  /** Mean size of the held-out images as JPEG files; the reward is minus this. */
  readonly kilobytes: number;
}

/** Sampling options that both trainers share. */
export interface Setting {
  readonly steps: number;
  readonly guidance: number;
  readonly size: number;
}

/**
 * Trains and evaluates, writing a row to `file` after every evaluation. Reads the file instead if an earlier run
 * finished it; an unfinished run starts over.
 */
export async function run(
  method: Method,
  seed: number,
  { steps, guidance, size }: Setting,
  file: string,
): Promise<readonly Row[]> {
  if (existsSync(file)) return read(file);
  const partial = `${file}.partial`;
  rmSync(partial, { force: true });
  await useBackend('wasm');
  const { engine, calls } = countingEngine(new OnnxRuntimeEngine({ threads: 1 }));
  const pipeline = await StableDiffusionPipeline.fromPretrained(embeddedModel.path, { engine });
  const sampling = {
    sample_num_steps: steps,
    sample_guidance_scale: guidance,
    sample_eta: 1,
    height: size,
    width: size,
  };
  const promptFunction: PromptFunction<undefined> = (generator) =>
    embeddedModel.prompts[generator.randint(0, embeddedModel.prompts.length, 1)[0]!]!;
  const common = { ...sampling, seed, num_epochs: 1_000_000 };
  const options = { pipeline, promptFunction, imageSamplesHook: () => {} };
  const trainer =
    method.trainer === 'alignprop'
      ? new AlignPropTrainer({
          ...options,
          config: { ...common, ...method.config },
          rewardFunction: jpegCompressibility(),
        })
      : new DDPOTrainer({
          ...options,
          config: { ...common, ...method.config },
          rewardFunction: method.control ? randomReward(seed) : smallness,
        });
  const evaluate = heldOut(pipeline, sampling);
  const spent = { queries: 0, forward: 0, backward: 0, seconds: 0, cpuSeconds: 0 };
  const rows: Row[] = [];
  const judge = async () => {
    rows.push({ ...spent, kilobytes: await evaluate(trainer.pipeline) });
    appendFileSync(partial, `${JSON.stringify(rows.at(-1))}\n`);
  };
  await judge();
  let before = { ...calls, cpu: process.cpuUsage() };
  for await (const { seconds } of trainer.train()) {
    spent.queries += imagesOf(trainer);
    spent.forward += calls.forward - before.forward;
    spent.backward += calls.backward - before.backward;
    spent.seconds += seconds;
    const cpu = process.cpuUsage(before.cpu);
    spent.cpuSeconds += (cpu.user + cpu.system) / 1e6;
    if (spent.queries % method.evalEvery === 0) await judge();
    if (spent.queries >= method.queries) break;
    before = { ...calls, cpu: process.cpuUsage() };
  }
  trainer.dispose();
  engine.dispose();
  renameSync(partial, file);
  return rows;
}

const read = (file: string): Row[] =>
  readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Row);

/** Returns the number of images judged in an epoch. */
function imagesOf({ config }: AlignPropTrainer | DDPOTrainer): number {
  if ('sample_batch_size' in config) return config.sample_batch_size * config.sample_num_batches_per_epoch;
  return config.train_batch_size * config.train_gradient_accumulation_steps;
}

/** Returns a function that measures the mean JPEG size of images of held-out prompts, always from the same noise. */
function heldOut(
  { engine }: StableDiffusionPipeline,
  sampling: AlignPropConfigInput,
): (pipeline: StableDiffusionPipeline) => Promise<number> {
  const config = parseAlignPropConfig({ ...sampling, seed: 20_000, eval_images_per_prompt: 4, estimator: 'full' });
  // A placeholder: the sizes of the images are computed below.
  const brightness = (images: Tensor4D) => tensor1d(new Float32Array(images.shape[0]));
  const evaluate = evaluator(engine, { config, prompts: embeddedModel.evalPrompts, rewardFunction: brightness });
  return async (pipeline) => {
    const sizes: number[] = [];
    await evaluate(pipeline, { onImages: async ({ images }) => void sizes.push(...(await kilobytes(images))) });
    return sizes.reduce((sum, size) => sum + size, 0) / sizes.length;
  };
}

/** The compressibility reward of the DDPO paper: minus the JPEG size in kilobytes. */
const smallness = async (images: Tensor4D): Promise<number[]> => (await kilobytes(images)).map((size) => -size);

function randomReward(seed: number): (images: Tensor4D) => Float32Array {
  const generator = random(seed);
  return ({ shape }) => generator.rand(shape[0]);
}

/** Sizes in kilobytes of 1000 bytes, as libjpeg writes the images at quality 95. */
async function kilobytes(images: Tensor4D): Promise<number[]> {
  const [, height, width] = images.shape;
  return (await toUint8(images)).map((data) => jpegSize({ data, height, width }) / 1000);
}
