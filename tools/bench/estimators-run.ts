import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { OnnxRuntimeEngine, useBackend } from '@alignprop/autograd-ext';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import type { RewardFunction } from '@alignprop/rewards';
import {
  AlignPropTrainer,
  evaluator,
  parseAlignPropConfig,
  type AlignPropConfigInput,
  type PromptFunction,
} from '@alignprop/trainer';
import { embeddedModel } from '../../packages/cli/src/embedded-model.js';
import { countingEngine } from './counting-engine.js';
import { recognition } from './recognition.js';

/** Options that all estimators share: those of `alignprop demo`, on deterministic chains. */
export const setting = {
  train_batch_size: 2,
  train_learning_rate: 1.3e-3,
  sample_num_steps: 10,
  sample_guidance_scale: 4,
  sample_eta: 0,
} as const satisfies AlignPropConfigInput;

/** When a run is evaluated: after so many UNet calls, a gradient counted as two, and after so much CPU time. */
export interface Budget {
  readonly calls: number;
  readonly cpuSeconds: number;
}

/** The cost of training up to an evaluation, and its result on held-out prompts. */
export interface Row {
  /** The budget that is spent; none before training. */
  readonly spent: keyof Budget | 'nothing';
  readonly steps: number;
  /** Calls of the UNet and of its gradient, for each image and each branch of guidance. */
  readonly forward: number;
  readonly backward: number;
  readonly cpuSeconds: number;
  /** The mean of the reward that was trained. */
  readonly reward: number;
  /** The certainty with which the untouched model recognises the prompts, 0 to 1; no run is trained on it. */
  readonly recognised: number;
  /** The mean `pixelDiversity` of the images of a prompt. */
  readonly diversity: number;
}

export interface RunOptions {
  readonly config: AlignPropConfigInput;
  readonly reward: RewardFunction;
  readonly seed: number;
  readonly budget: Budget;
  /** The file of the evaluations; one that an earlier run finished is read instead. */
  readonly file: string;
  /** The file of the evaluation before training, which is the same for all runs of a reward. */
  readonly startFile: string;
}

/** Trains until both budgets are spent, and evaluates before and when each of them is. */
export async function run({ config, reward, seed, budget, file, startFile }: RunOptions): Promise<readonly Row[]> {
  if (existsSync(file)) return [...read(startFile), ...read(file)];
  const partial = `${file}.partial`;
  await useBackend('wasm');
  const { engine, calls } = countingEngine(new OnnxRuntimeEngine({ threads: 1 }));
  const pipeline = await StableDiffusionPipeline.fromPretrained(embeddedModel.path, { engine });
  const { prompts } = embeddedModel;
  const promptFunction: PromptFunction<undefined> = (generator) =>
    prompts[generator.randint(0, prompts.length, 1)[0]!]!;
  const trainer = new AlignPropTrainer({
    pipeline,
    promptFunction,
    rewardFunction: reward,
    imageSamplesHook: () => {},
    config: { ...setting, ...config, seed, num_epochs: 1_000_000 },
  });
  const judge = await heldOut(pipeline, reward);
  const total = { steps: 0, forward: 0, backward: 0, cpuSeconds: 0 };
  const rows: Row[] = [];
  const evaluate = async (spent: Row['spent']) => {
    rows.push({ spent, ...total, ...(await judge(trainer.pipeline)) });
  };
  if (!existsSync(startFile)) {
    await evaluate('nothing');
    writeFileSync(startFile, `${JSON.stringify(rows.pop())}\n`);
  }
  let before = { ...calls, cpu: process.cpuUsage() };
  for await (const _ of trainer.train()) {
    const cpu = process.cpuUsage(before.cpu);
    total.steps++;
    total.forward += calls.forward - before.forward;
    total.backward += calls.backward - before.backward;
    total.cpuSeconds += (cpu.user + cpu.system) / 1e6;
    if (!isSpent(rows, 'calls') && total.forward + 2 * total.backward >= budget.calls) await evaluate('calls');
    if (!isSpent(rows, 'cpuSeconds') && total.cpuSeconds >= budget.cpuSeconds) await evaluate('cpuSeconds');
    if (isSpent(rows, 'calls') && isSpent(rows, 'cpuSeconds')) break;
    before = { ...calls, cpu: process.cpuUsage() };
  }
  trainer.dispose();
  engine.dispose();
  writeFileSync(partial, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  renameSync(partial, file);
  return [...read(startFile), ...rows];
}

const isSpent = (rows: readonly Row[], budget: keyof Budget): boolean => rows.some(({ spent }) => spent === budget);

const read = (file: string): Row[] =>
  readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Row);

/** Returns a function that judges images of held-out prompts, always from the same noise. */
async function heldOut(
  pipeline: StableDiffusionPipeline,
  reward: RewardFunction,
): Promise<(pipeline: StableDiffusionPipeline) => Promise<Pick<Row, 'reward' | 'recognised' | 'diversity'>>> {
  const config = parseAlignPropConfig({ ...setting, estimator: 'full', seed: 20_000, eval_images_per_prompt: 3 });
  const { evalPrompts: prompts } = embeddedModel;
  const common = { config, prompts };
  const trained = evaluator(pipeline.engine, { ...common, rewardFunction: reward });
  const seen = evaluator(pipeline.engine, { ...common, rewardFunction: await recognition(pipeline, prompts) });
  return async (adapted) => {
    const { mean, diversity } = await trained(adapted);
    return { reward: mean, recognised: (await seen(adapted)).mean, diversity: diversity! };
  };
}
