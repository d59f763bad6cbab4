// npm run few-steps -w tools -- --emoji FOLDER [--minutes 20 --chains 1200 --output FILE]
// Distils the embedded model to four steps without guidance: an adapter of its UNet learns to pass, from the same
// noise, through the latents of the model's own chain of 20 steps with guidance. The loss is the squared error of the
// latents after every step, and its gradient goes through the whole chain. FOLDER is the unpacked npm package
// emoji-datasource-google, whose names of animals and food are the prompts; --minutes are CPU time of the training.
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  add,
  dispose,
  mean,
  mul,
  square,
  sub,
  tensor1d,
  type Tensor,
  type Tensor3D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import { OnnxRuntimeEngine, random, useBackend, type Params } from '@alignprop/autograd-ext';
import { schedulerFor, StableDiffusionPipeline, unet2DCondition } from '@alignprop/diffusion';
import { addLora, loraTensors } from '@alignprop/lora';
import { embeddedModel } from '../../packages/cli/src/embedded-model.js';
import { emojiNames } from './emoji-names.js';
import { saveHalf } from './half-file.js';
import { stacked } from './rows.js';
import { steps, teacher, type TeacherChain } from './teacher-chains.js';
import { cosineRate, trainedLoss } from './trained-loss.js';

const { values: flags } = parseArgs({
  options: {
    emoji: { type: 'string' },
    minutes: { type: 'string', default: '20' },
    chains: { type: 'string', default: '1200' },
    threads: { type: 'string', default: '1' },
    output: { type: 'string', default: join(embeddedModel.path, '../tiny-emoji-tcd/pytorch_lora_weights.safetensors') },
  },
});
if (!flags.emoji) throw new Error('few-steps: --emoji got nothing, expected the folder of emoji-datasource-google.');

/** The teacher's guidance, as in the samples of the model's README. */
const guidanceScale = 4;
const rank = 16;
/** All convolutions and linear layers of the UNet but those of the timestep. */
const targets = ['to_q', 'to_k', 'to_v', 'to_out.0', 'ff.net.0.proj', 'ff.net.2', 'proj_in', 'proj_out'];
const convolutions = ['conv1', 'conv2', 'conv_shortcut', 'time_emb_proj', 'conv_in', 'conv_out', 'conv'];
const batchSize = 8;
const rates = [3e-3, 2e-5] as const;
/** The weights of the errors after each step: the last one makes the picture. */
const errorWeights = [1, 1, 1, 2];

await useBackend('wasm');
const engine = new OnnxRuntimeEngine({ threads: Number(flags.threads) });
const pipeline = await StableDiffusionPipeline.fromPretrained(embeddedModel.path, { engine });
const generator = random(0);
const held: ReadonlySet<string> = new Set(embeddedModel.evalPrompts);
const names = (await emojiNames(flags.emoji)).filter((name) => !held.has(name));
const chains = await drawChains(names, Number(flags.chains));
const heldOut = await drawChains([...held], 2 * held.size);
console.log(`${chains.length} chains of ${names.length} prompts, ${heldOut.length} held out`);

const { config } = pipeline.unet;
const scheduler = schedulerFor('tcd', pipeline.scheduler.config);
const params = addLora(
  pipeline.unet.params,
  { r: rank, loraAlpha: rank, targetModules: [...targets, ...convolutions] },
  generator,
);
await trainAdapter(Number(flags.minutes) * 60_000);
await saveHalf(
  flags.output,
  Object.fromEntries(Object.entries(loraTensors(params)).map(([path, tensor]) => [`unet.${path}`, tensor])),
);

/** Draws chains of the teacher, with the prompts in turn. */
async function drawChains(prompts: readonly string[], count: number): Promise<readonly TeacherChain[]> {
  const draw = teacher(pipeline, guidanceScale);
  const drawn: TeacherChain[] = [];
  while (drawn.length < count) {
    const batch = Array.from(
      { length: Math.min(16, count - drawn.length) },
      (_, i) => prompts[(drawn.length + i) % prompts.length]!,
    );
    drawn.push(...(await draw(batch, generator)));
  }
  return drawn;
}

async function trainAdapter(duration: number): Promise<void> {
  const train = trainedLoss(engine, params, chainLoss);
  const started = process.cpuUsage();
  for (let step = 1, share = 0, sum = 0; share < 1; step++) {
    const batch = Array.from({ length: batchSize }, () => chains[generator.randint(0, chains.length, 1)[0]!]!);
    sum += await train(lossInputs(batch), cosineRate(share, rates));
    const { user, system } = process.cpuUsage(started);
    share = (user + system) / 1000 / duration;
    if (step % 50 > 0 && share < 1) continue;
    const held = (await heldOutLoss()).toFixed(4);
    console.log(`step ${step}: loss ${(sum / 50).toFixed(4)}, held out ${held}, ${(100 * share).toFixed(0)} %`);
    sum = 0;
  }
}

/** The squared errors of the student's latents after every step. */
function chainLoss(tree: Params, start?: Tensor, embeds?: Tensor, ...targets: (Tensor | undefined)[]): Tensor {
  let sample = start as Tensor4D;
  const errors = scheduler.timesteps(steps.student).map((step, i) => {
    const output = unet2DCondition(config, tree, sample, tensor1d([step.t]), embeds as Tensor3D);
    sample = scheduler.step(output, step, sample, { eta: 0 }).prevSample;
    return mul(mean(square(sub(sample, targets[i]!))), errorWeights[i]!);
  });
  return errors.reduce((sum, error) => add(sum, error));
}

/** The inputs of `chainLoss`. */
function lossInputs(batch: readonly TeacherChain[]): Tensor[] {
  const shape = pipeline.latentShape({ batch: batch.length }).slice(1);
  const width = config.cross_attention_dim as number;
  const embeds = stacked(
    batch.map((chain) => chain.embeds),
    [batch[0]!.embeds.length / width, width],
  );
  const [start, ...targets] = Array.from({ length: steps.student + 1 }, (_, i) =>
    stacked(
      batch.map(({ latents }) => latents[i]!),
      shape,
    ),
  );
  return [start!, embeds, ...targets];
}

async function heldOutLoss(): Promise<number> {
  const inputs = lossInputs(heldOut);
  const [loss] = await engine.compile(chainLoss)(params, ...inputs);
  const [value] = await loss!.data();
  dispose([...inputs, loss!]);
  return value!;
}
