import { writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { isModelReward, loadReward, type RewardFunction } from '@alignprop/rewards';
import { addEngineOptions, startEngine, type EngineOptions } from '../options/engine-options.js';
import { collectValues, integerParser } from '../options/option-parsers.js';
import { pathExists } from '../path-exists.js';
import { blackBoxTerms } from '../options/reward-terms.js';
import type { RewardOptions } from '../options/reward-term-options.js';
import { isRewardFile } from '../options/reward-file.js';
import { UsageError } from '../terminal/errors.js';
import { ownCommand } from '../terminal/program-command.js';
import { addOutputOptions, Output, type OutputOptions } from '../terminal/output.js';
import { rewardChecks } from './reward-checks.js';
import { rewardTemplate } from './reward-template.js';

interface CheckOptions extends EngineOptions, OutputOptions {
  height: number;
  width: number;
  prompt?: readonly string[];
  rewardOption?: RewardOptions;
}

/** Adds the subcommands `check` and `new` of `alignprop reward`. */
export function defineCommand(command: Command): void {
  const check = command
    .command('check <reward>')
    .description(
      'Check a reward on random images: scores, range, the same result twice and in a batch, the gradient against ' +
        'finite differences, compilation, speed. The reward is a file, a listed name, https://… or exec:….',
    )
    .option('--height <n>', 'Height of the images in pixels.', integerParser(1, 2 ** 13), 64)
    .option('--width <n>', 'Width of the images in pixels.', integerParser(1, 2 ** 13), 64)
    .option('-p, --prompt <text>', 'A prompt of the images; may be given several times.', collectValues)
    .option('--reward-option <name.option=value>', 'An option of the reward, as in alignprop score.', collectValues)
    .optionsGroup('Model:');
  addOutputOptions(addEngineOptions(check)).action((reward: string, options: CheckOptions) =>
    checkReward(reward, options),
  );
  const create = command
    .command('new <file>')
    .description('Write a reward to start from. The ending chooses the language: .mjs, .js or .ts.');
  addOutputOptions(create).action((file: string, options: OutputOptions) => newReward(file, options));
  command.addHelpText('after', examples);
}

const examples = `
Examples:
  $ alignprop reward new my-reward.mjs
  $ alignprop reward check my-reward.mjs
  $ alignprop reward check "exec:python score.py" --prompt "a crab"`;

async function checkReward(
  term: string,
  { height, width, prompt, rewardOption, ...options }: CheckOptions,
): Promise<void> {
  const output = new Output(options);
  const engine = await startEngine(options, output);
  const terms = blackBoxTerms([term], rewardOption, { flag: 'reward check' });
  const loaded = (await terms.load((text) => output.info(text))) as RewardFunction;
  const reward = isModelReward(loaded) ? await loadReward(loaded) : loaded;
  const prompts = prompt ?? ['a crab', 'a fox', 'the moon over a house'];
  const rows: [string, string, string][] = [];
  let failures = 0;
  try {
    for await (const { name, status, detail } of rewardChecks(reward, { engine, height, width, prompts })) {
      output.result({ event: 'check', name, status, detail });
      rows.push([name, status, detail]);
      if (status === 'failed') failures++;
    }
  } finally {
    engine.dispose();
  }
  output.list(rows);
  if (failures > 0) throw new Error(`reward check: ${failures} of ${rows.length} checks of '${term}' failed.`);
}

async function newReward(file: string, options: OutputOptions): Promise<void> {
  const output = new Output(options);
  if (!isRewardFile(file))
    throw new UsageError(`reward new: got '${file}', expected a name that ends in .mjs, .js or .ts.`);
  if (pathExists(file))
    throw new UsageError(`reward new: '${file}' exists already, expected a new name. Nothing was written.`);
  await writeFile(file, rewardTemplate(file));
  if (/\.[cm]?ts$/.test(file) && !runsTypeScript())
    output.warn(
      `Node ${process.versions.node} does not run TypeScript. To use '${file}', run the command with Node 22.18 or ` +
        'newer, or compile the file to .mjs.',
    );
  output.result(
    { event: 'created', file },
    [
      `Created  ${file}`,
      `Check    ${ownCommand('reward', 'check', file)}`,
      `Train    ${ownCommand('train', '--reward', file)}`,
    ].join('\n'),
  );
}

/** Whether Node runs TypeScript files as they are: since 22.18. */
const runsTypeScript = (): boolean => Boolean((process.features as { typescript?: unknown }).typescript);
