// npm run reward-decoder -w tools
// [-- --decoder FOLDER --seeds 3 --epochs 20 --only cosine,seconds,held-out --threads 1]
// Compares a tiny decoder of the reward with the embedded model's own decoder: the angle between the gradients of the
// latents, seconds of a step, and the reward of held-out prompts after as many steps. Memory is measured by
// `npm run bench -- --only train --reward-decoder FOLDER`.
import { parseArgs } from 'node:util';
import { add, dispose, grad, mean, mul, sub, sum, unstack, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { OnnxRuntimeEngine, useBackend } from '@alignprop/autograd-ext';
import { AutoencoderTiny, decodeImages, StableDiffusionPipeline, type Autoencoder } from '@alignprop/diffusion';
import { jpegCompressibility } from '@alignprop/rewards';
import { AlignPropTrainer, evaluator, parseAlignPropConfig, type PromptFunction } from '@alignprop/trainer';
import { demoSteps, embeddedDecoder, embeddedModel } from '../../packages/cli/src/embedded-model.js';

const { values: flags } = parseArgs({
  options: {
    decoder: { type: 'string', default: embeddedDecoder.path },
    seeds: { type: 'string', default: '3' },
    epochs: { type: 'string', default: '20' },
    only: { type: 'string', default: 'cosine,seconds,held-out' },
    threads: { type: 'string', default: '1' },
  },
});

type Reward = (images: Tensor4D) => Tensor;

const smallFiles = jpegCompressibility();

/** Rewards of fine and of coarse details: the size of a JPEG file, and how red an image is. */
const rewards: Readonly<Record<string, Reward>> = {
  'jpeg-compressibility': (images) => smallFiles(images, [], []) as Tensor,
  redness: (images) => {
    const [red, green, blue] = unstack(images, 3);
    return mean(sub(red!, mul(add(green!, blue!), 0.5)), [1, 2]);
  },
};

await useBackend('wasm');
const engine = new OnnxRuntimeEngine({ threads: Number(flags.threads) });
const pipeline = await StableDiffusionPipeline.fromPretrained(embeddedModel.path, { engine });
const tiny = await AutoencoderTiny.fromPretrained(flags.decoder);
const parts = { cosine: cosines, seconds: secondsOfSteps, 'held-out': heldOutRewards };
for (const part of flags.only.split(',')) await parts[part as keyof typeof parts]();

/** Prints the cosines between the gradients of latents of held-out prompts, through one decoder and the other. */
async function cosines(): Promise<void> {
  const gradients = { own: latentGradient(pipeline), tiny: latentGradient(pipeline.with({ vae: tiny })) };
  for (const [name, reward] of Object.entries(rewards)) {
    const found: number[] = [];
    for (const [i, prompt] of embeddedModel.evalPrompts.entries()) {
      const sampling = { numInferenceSteps: 20, guidanceScale: 4, numImagesPerPrompt: 2 };
      const { images, latents } = await pipeline.generate(prompt, { ...sampling, seed: i, outputType: 'tensor' });
      const [a, b] = [await gradients.own(latents, reward), await gradients.tiny(latents, reward)];
      found.push(...cosinesOf(a, b));
      dispose([images, latents, a, b]);
    }
    const sorted = [...found].sort((x, y) => x - y);
    const texts = found.map((cosine) => cosine.toFixed(3)).join(' ');
    console.log(`cosine, ${name}: mean ${average(found).toFixed(3)}, least ${sorted[0]!.toFixed(3)} (${texts})`);
  }
}

/** Returns the gradient of the reward with respect to latents, through the decoder of a pipeline. */
function latentGradient(decoding: StableDiffusionPipeline) {
  const { params, config } = decoding.vae;
  const decode = engine.compileVjp(decodeImages(config), { wrt: [0] });
  return async (latents: Tensor4D, reward: Reward): Promise<Tensor> => {
    const images = await decoding.decode(latents);
    const dy = grad((x) => sum(reward(x as Tensor4D)))(images);
    const { value, inputs } = await decode(params, [latents], dy);
    dispose([images, dy, value]);
    return inputs[0]!;
  };
}

/** The cosine of each member of two batches. */
function cosinesOf(a: Tensor, b: Tensor): number[] {
  const [x, y] = [a.dataSync(), b.dataSync()];
  const size = x.length / a.shape[0]!;
  return Array.from({ length: a.shape[0]! }, (_, row) => {
    let [dot, xx, yy] = [0, 0, 0];
    for (let i = row * size; i < (row + 1) * size; i++) {
      dot += x[i]! * y[i]!;
      xx += x[i]! ** 2;
      yy += y[i]! ** 2;
    }
    return dot / Math.sqrt(xx * yy);
  });
}

/** Prints the median seconds of training steps, which alternate between the two decoders. */
async function secondsOfSteps(): Promise<void> {
  const runs = { own: trainerOf(0, 8).train(), tiny: trainerOf(0, 8, tiny).train() };
  const seconds: Record<keyof typeof runs, number[]> = { own: [], tiny: [] };
  for (let step = 0; step < 8; step++)
    for (const name of ['own', 'tiny'] as const) {
      const { value, done } = await runs[name].next();
      if (!done && step > 0) seconds[name].push(value.seconds); // the first one compiles
    }
  const median = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)]!.toFixed(3);
  console.log(`seconds of a step: own decoder ${median(seconds.own)}, tiny ${median(seconds.tiny)}`);
}

/** Prints the mean reward of held-out prompts before and after training with either decoder. */
async function heldOutRewards(): Promise<void> {
  const epochs = Number(flags.epochs);
  for (let seed = 1; seed <= Number(flags.seeds); seed++) {
    const config = parseAlignPropConfig({ ...demoSteps, eval_images_per_prompt: 2, eval_seed: 20_000 });
    const [prompts, rewardFunction] = [embeddedModel.evalPrompts, smallFiles];
    const evaluate = evaluator(engine, { config, prompts, rewardFunction });
    const means = [(await evaluate(pipeline)).mean];
    for (const decoder of [undefined, tiny]) {
      const trainer = trainerOf(seed, epochs, decoder);
      for await (const _ of trainer.train());
      means.push((await evaluate(trainer.pipeline)).mean);
      trainer.dispose();
    }
    const [before, own, small] = means.map((value) => value.toFixed(4));
    console.log(`held-out reward, seed ${seed}: before ${before}, ${epochs} steps: own decoder ${own}, tiny ${small}`);
  }
}

function trainerOf(seed: number, num_epochs: number, rewardDecoder?: Autoencoder): AlignPropTrainer {
  const { prompts } = embeddedModel;
  const promptFunction: PromptFunction<undefined> = (generator) =>
    prompts[generator.randint(0, prompts.length, 1)[0]!]!;
  const config = { ...demoSteps, seed, num_epochs };
  return new AlignPropTrainer({
    pipeline,
    promptFunction,
    rewardFunction: smallFiles,
    rewardDecoder,
    config,
  });
}

function average(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0) / values.length;
}
