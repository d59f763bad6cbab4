// npm run guards -w tools [-- --steps 40 --only none,kl --runs FILE --output docs/guards] Shows over-optimisation and
// what guards do about it. The same run, with and without them, is judged on held-out prompts by the trained reward, by
// whether the untouched model still recognises the images, and by their diversity. Writes a plot and a sheet of images,
// prints a table. Runs already in the --runs file are not repeated.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createEngine } from '@alignprop/autograd-ext';
import { encodePng, imageGrid, StableDiffusionPipeline, toUint8 } from '@alignprop/diffusion';
import { capped, jpegCompressibility, weightedSum, type ModelReward } from '@alignprop/rewards';
import {
  AlignPropTrainer,
  evaluator,
  type EvaluatedImages,
  parseAlignPropConfig,
  type AlignPropConfigInput,
  type HeldOutOptions,
} from '@alignprop/trainer';
import { embeddedModel } from '../../packages/cli/src/embedded-model.js';
import { labelSheet } from './label-sheet.js';
import { plot, type Panel } from './plot.js';
import { recognition } from './recognition.js';

const { values: flags } = parseArgs({
  options: {
    steps: { type: 'string', default: '40' },
    every: { type: 'string', default: '5' },
    only: { type: 'string' },
    runs: { type: 'string', default: join(tmpdir(), 'alignprop-guards.json') },
    output: { type: 'string', default: 'docs/guards' },
  },
});
const [steps, every] = [Number(flags.steps), Number(flags.every)];

/**
 * Options of all runs. The learning rate is three times that of `alignprop demo`, so that over-optimisation happens
 * within a few minutes.
 */
const common = {
  seed: 5,
  num_epochs: steps,
  train_batch_size: 2,
  train_learning_rate: 4e-3,
  sample_num_steps: 10,
  sample_guidance_scale: 4,
  sample_eta: 0,
  truncated_backprop_rand: false,
  truncated_backprop_timestep: 8,
  eval_images_per_prompt: 3,
  save_freq: 1000,
} as const satisfies AlignPropConfigInput;

interface Guard {
  readonly label: string;
  readonly color: string;
  readonly config?: AlignPropConfigInput;
  readonly cap?: number;
  /** Dash pattern of a line that lies on top of another. */
  readonly dash?: string;
}

/** Weight of recognition in the reward of early stopping: small files that still show their prompt. */
const recognitionWeight = 5;
const guards: Readonly<Record<string, Guard>> = {
  none: { label: 'no guard', color: '#dc2626' },
  kl: { label: 'kl_weight 1', color: '#2563eb', config: { kl_weight: 1 } },
  cap: { label: 'cap -2.8', color: '#059669', cap: -2.8 },
  ema: { label: 'ema_decay 0.9', color: '#9333ea', dash: '2 4', config: { ema_decay: 0.9 } },
  stop: {
    label: 'early stopping',
    color: '#d97706',
    dash: '6 5',
    config: { eval_freq: every, early_stopping_patience: 2 },
  },
};

/** An evaluation on held-out prompts after `step` steps. */
interface Point {
  readonly step: number;
  readonly kilobytes: number;
  readonly recognised: number;
  readonly diversity: number;
}

interface Run {
  readonly points: readonly Point[];
  /** The step whose adapter the run exports. */
  readonly bestStep: number;
  /** The first image of each prompt drawn with that adapter, base64-encoded pixels. */
  readonly images: readonly string[];
}

const { prompts, evalPrompts } = embeddedModel;
const engine = await createEngine({ engine: 'onnxruntime', threads: 1 });
const pipeline = await StableDiffusionPipeline.fromPretrained(embeddedModel.path, { engine });
const judge = await recognition(pipeline, evalPrompts);
const evaluate = evaluator(engine, {
  config: parseAlignPropConfig(common),
  prompts: evalPrompts,
  rewardFunction: judge,
});

const runs = existsSync(flags.runs) ? (JSON.parse(readFileSync(flags.runs, 'utf8')) as Record<string, Run>) : {};
for (const name of flags.only?.split(',') ?? Object.keys(guards)) {
  runs[name] ??= await train(guards[name]!);
  writeFileSync(flags.runs, JSON.stringify(runs));
}
runs.base ??= { points: [], bestStep: 0, images: (await look(pipeline, 0)).images };
writeFileSync(flags.runs, JSON.stringify(runs));
if (Object.keys(guards).every((name) => runs[name])) await report();
engine.dispose();

async function train({ label, config, cap }: Guard): Promise<Run> {
  const folder = mkdtempSync(join(tmpdir(), 'guards-'));
  const evaluation: HeldOutOptions<undefined> = {
    prompts: evalPrompts,
    rewardFunction: weightedSum({ small: [jpegCompressibility(), 1], recognised: [judge, recognitionWeight] }),
  };
  const reward: ModelReward<undefined> = cap === undefined ? jpegCompressibility() : capped(jpegCompressibility(), cap);
  let exported = steps;
  const trainer = new AlignPropTrainer<undefined>({
    config: { ...common, ...config, output_dir: folder },
    pipeline,
    promptFunction: (generator) => prompts[generator.randint(0, prompts.length, 1)[0]!]!,
    rewardFunction: reward,
    imageSamplesHook: () => {},
    evaluation,
    trackers: [{ log: () => {}, logEvaluation: ({ bestStep }) => void (exported = bestStep), close: () => {} }],
  });
  const evaluations = [await look(trainer.pipeline, 0)];
  for await (const { globalStep } of trainer.train()) {
    if ((globalStep + 1) % every !== 0) continue;
    evaluations.push(await trainer.averaged(() => look(trainer.pipeline, globalStep + 1)));
    const { point } = evaluations.at(-1)!;
    console.log(
      `${label}: after ${point.step} steps ${point.kilobytes.toFixed(2)} kB, ` +
        `recognised ${point.recognised.toFixed(2)}, diversity ${point.diversity.toFixed(4)}`,
    );
  }
  trainer.dispose();
  rmSync(folder, { recursive: true });
  const { images } = evaluations.find(({ point }) => point.step === exported) ?? evaluations.at(-1)!;
  return { points: evaluations.map(({ point }) => point), bestStep: exported, images };
}

async function look(tuned: StableDiffusionPipeline, step: number): Promise<{ point: Point; images: string[] }> {
  const sizes: number[] = [];
  const firsts: Uint8Array[] = [];
  const onImages = async ({ images }: EvaluatedImages) => {
    const scores = jpegCompressibility()(images, [], []);
    sizes.push(...(await scores.data<'float32'>()));
    firsts.push((await toUint8(images))[0]!);
    scores.dispose();
  };
  const { mean, diversity } = await evaluate(tuned, { onImages });
  const kilobytes = -sizes.reduce((sum, size) => sum + size, 0) / sizes.length;
  return {
    point: { step, kilobytes, recognised: mean, diversity: diversity! },
    images: firsts.map((bytes) => Buffer.from(bytes).toString('base64')),
  };
}

async function report(): Promise<void> {
  const panel = (name: string, key: keyof Point, range?: [number, number]): Panel => ({
    axes: ['training steps', name],
    range,
    series: Object.entries(guards).map(([name, { label, color, dash }]) => ({
      name: label,
      color,
      dash,
      points: runs[name]!.points.map((point) => [point.step, point[key]] as const),
    })),
  });
  const panels = [
    panel('file size, kB: the reward is minus it', 'kilobytes'),
    panel('recognised, probability (chance is 0.17)', 'recognised', [0, 1]),
    panel('diversity, difference of pixels', 'diversity'),
  ];
  writeFileSync(`${flags.output}.svg`, plot([panels]));
  const rows = ['before', ...Object.values(guards).map((guard) => guard.label)];
  const images = ['base', ...Object.keys(guards)].flatMap((name) => runs[name]!.images);
  writeFileSync(`${flags.output}.png`, await labelSheet(sheet(images), { rows, columns: evalPrompts }));
  console.log(table());
}

function sheet(images: readonly string[]): Uint8Array {
  const [height, width] = pipeline.defaultSize;
  const grid = imageGrid(
    images.map((image) => Uint8Array.from(Buffer.from(image, 'base64'))),
    { height, width, columns: evalPrompts.length, gutter: 4 },
  );
  return encodePng(grid.data, { ...grid });
}

function table(): string {
  const start = runs.none!.points[0]!;
  const row = (label: string, { kilobytes, recognised, diversity }: Point) =>
    `| ${label} | ${kilobytes.toFixed(2)} | ${recognised.toFixed(2)} | ${diversity.toFixed(4)} |`;
  const ends = Object.entries(guards).map(([name, { label }]) =>
    row(
      `${label}, after ${runs[name]!.bestStep} steps`,
      runs[name]!.points.find(({ step }) => step === runs[name]!.bestStep)!,
    ),
  );
  return [
    '| | JPEG, kB | recognised | diversity |',
    '| --- | ---: | ---: | ---: |',
    row('before training', start),
    ...ends,
  ].join('\n');
}
