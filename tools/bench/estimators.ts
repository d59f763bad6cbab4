// npm run estimators -w tools [-- --seeds 0,1,2 --only refl,drtune --rewards jpeg,picture --runs FOLDER
// --output docs/estimators --report] Compares the estimators of the reward's gradient: trains the embedded model with
// each, with the same number of UNet calls and with the same CPU time, and judges it on held-out prompts. Runs already
// in FOLDER are not repeated, so that the comparison can be stopped and continued; --report trains nothing more. Writes
// tables into OUTPUT.md, the plot to OUTPUT.svg, all numbers to OUTPUT.json.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { avgPool, mean, mul, square, sub, type Tensor4D } from '@tensorflow/tfjs-core';
import { OnnxRuntimeEngine, useBackend } from '@alignprop/autograd-ext';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import { jpegCompressibility, type RewardFunction } from '@alignprop/rewards';
import { estimatorNames, type AlignPropConfigInput } from '@alignprop/trainer';
import { embeddedModel } from '../../packages/cli/src/embedded-model.js';
import { gradientStatistics } from './estimator-gradients.js';
import { estimatorOptions } from './estimator-options.js';
import { gradientTableOf, plotOf, tableOf, type Runs } from './estimators-report.js';
import { run, setting, type Budget } from './estimators-run.js';
import { writePage } from './write-page.js';

const beside = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const { values: flags } = parseArgs({
  options: {
    seeds: { type: 'string', default: '0,1,2' },
    only: { type: 'string' },
    rewards: { type: 'string', default: 'jpeg,picture' },
    runs: { type: 'string', default: beside('../dist/estimators') },
    output: { type: 'string', default: beside('../../docs/estimators') },
    report: { type: 'boolean', default: false },
  },
});

const budget: Budget = { calls: 1500, cpuSeconds: 15 };

/** The estimators, and cheaper variants of the recommended one. */
const methods: Readonly<Record<string, AlignPropConfigInput>> = {
  ...Object.fromEntries(estimatorNames.map((name) => [name, estimatorOptions(name, setting.sample_num_steps)])),
  'drtune + conditional': { estimator: 'drtune', cfg_gradient: 'conditional' },
  'drtune + conditional + interval': {
    ...{ estimator: 'drtune', cfg_gradient: 'conditional', guidance_interval: [0.2, 0.8] },
  },
};

/** Minus the difference from a picture, seen from afar: both are averaged over squares of 8 pixels. */
async function nearness(prompt: string): Promise<RewardFunction> {
  const pipeline = await StableDiffusionPipeline.fromPretrained(embeddedModel.path, {
    engine: new OnnxRuntimeEngine(),
  });
  const { images } = await pipeline.generate(prompt, {
    ...{ numInferenceSteps: 20, guidanceScale: 4, seed: 1, outputType: 'tensor' },
  });
  const afar = (x: Tensor4D) => avgPool(x, 8, 8, 'valid');
  const target = afar(images);
  return (shown) => mul(mean(square(sub(afar(shown), target)), [1, 2, 3]), -100);
}

await useBackend('wasm');
const rewards: Readonly<Record<string, () => RewardFunction | Promise<RewardFunction>>> = {
  jpeg: () => jpegCompressibility(),
  picture: () => nearness('tomato'),
};

mkdirSync(flags.runs, { recursive: true });
const seeds = flags.seeds.split(',').map(Number);
const runs: Record<string, Runs> = {};
for (const rewardName of flags.rewards.split(',')) {
  const reward = await rewards[rewardName]!();
  const ofReward: Record<string, Runs[string][number][]> = {};
  for (const seed of seeds)
    for (const name of flags.only?.split(',') ?? Object.keys(methods)) {
      const file = `${flags.runs}/${rewardName}-${name.replaceAll(/[^\w-]+/g, '-')}-${seed}.jsonl`;
      if (flags.report && !existsSync(file)) continue;
      const startFile = `${flags.runs}/${rewardName}-start.jsonl`;
      const rows = await run({ config: methods[name]!, reward, seed, budget, file, startFile });
      const { steps: taken, cpuSeconds, reward: reached, recognised, diversity } = rows.at(-1)!;
      console.log(
        `${rewardName}, ${name}, seed ${seed}: reward ${reached.toFixed(3)}, recognised ${recognised.toFixed(2)}, ` +
          `diversity ${diversity.toFixed(3)} after ${taken} steps, ${cpuSeconds.toFixed(0)} s`,
      );
      (ofReward[name] ??= []).push(rows);
    }
  runs[rewardName] = ofReward;
}
const statisticsFile = `${flags.runs}/gradients.json`;
if (!existsSync(statisticsFile))
  writeFileSync(statisticsFile, JSON.stringify(await gradientStatistics(methods, jpegCompressibility())));
const gradients = JSON.parse(readFileSync(statisticsFile, 'utf8')) as Awaited<ReturnType<typeof gradientStatistics>>;
const tables = [
  ...Object.entries(runs).map(([name, ofReward]) => `### ${name}\n\n${tableOf(ofReward)}`),
  `### gradients\n\n${gradientTableOf(gradients)}`,
].join('\n\n');
console.log(`\n${tables}`);
const numbers = { setting, budget, methods, seeds, runs, gradients };
writePage(flags.output, { numbers, figure: plotOf(runs), tables });
