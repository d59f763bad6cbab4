import type { Command } from 'commander';
import type { Engine } from '@alignprop/autograd-ext';
import { scoreImages, type Pixels } from '@alignprop/rewards';
import { readImage } from '../images/read-image.js';
import { addEngineOptions, startEngine, type EngineOptions } from '../options/engine-options.js';
import { collectValues } from '../options/option-parsers.js';
import type { PromptList, PromptMetadata } from '../options/prompt-columns.js';
import { joinPrompts, readPrompts } from '../options/prompt-list.js';
import { promptColumnOption, promptFormats } from '../options/prompt-options.js';
import { usesPrompt } from '../options/reward-list.js';
import { addRewardOptions, type RewardTermOptions } from '../options/reward-options.js';
import type { UserReward } from '../options/reward-file.js';
import { blackBoxTerms } from '../options/reward-terms.js';
import { UsageError } from '../terminal/errors.js';
import { interruptible } from '../terminal/interrupt.js';
import { addOutputOptions, Output, type OutputOptions } from '../terminal/output.js';

interface ScoreOptions extends RewardTermOptions, EngineOptions, OutputOptions {
  prompt?: readonly string[];
  /** The path of a file. */
  prompts?: string;
  promptColumn?: string;
}

/** The prompt of an image, and its metadata. */
interface ImagePrompt {
  readonly prompt: string;
  readonly metadata?: PromptMetadata;
}

/** Adds the arguments, options and action of `alignprop score`. */
export function defineCommand(command: Command): void {
  command
    .argument('<images...>', 'PNG files; if the package sharp is installed, also JPEG, WebP and others.')
    .optionsGroup('Task:');
  addRewardOptions(command, 'Reward to score with')
    .option('-p, --prompt <text>', 'Prompt of the images: one for all, or one for each image.', collectValues)
    .option(
      '--prompts <file>',
      `Prompts in the order of the images: ${promptFormats}. Other columns are metadata for the reward.`,
    )
    .addOption(promptColumnOption())
    .optionsGroup('Model:');
  addEngineOptions(command);
  addOutputOptions(command)
    .addHelpText('after', examples)
    .action((images: string[], options: ScoreOptions) => score(images, options));
}

const examples = `
Examples:
  $ alignprop score *.png --reward jpeg-compressibility
  $ alignprop score crab.png --reward aesthetic --reward clip-score:10 --prompt crab --json
  $ alignprop score crab.png --reward ./my-reward.mjs
  $ alignprop score a.png b.png --reward pick-score --prompts prompts.txt
  $ alignprop score crab.png --reward https://scores.example/aesthetic --reward "exec:python score.py"`;

async function score(images: readonly string[], options: ScoreOptions): Promise<void> {
  if (options.reward === undefined)
    throw new UsageError('--reward: got nothing, expected at least one, such as --reward aesthetic.');
  const reward = blackBoxTerms([options.reward].flat(), options.rewardOption);
  const output = new Output(options);
  const prompts = await promptsOf(images, options, reward.names, output);
  const pixels = await Promise.all(images.map(readImage));
  const engine = await startEngine(options, output);
  const loaded = await reward.load((text) => output.info(text));
  const rows = await interruptible(
    (signal) => scoreAll(engine, images, pixels, prompts, loaded, signal, output),
    () => output.info('Stopping.'),
  );
  const columns = Object.keys(rows[0]!);
  output.table([
    ['image', ...columns],
    ...rows.map((row, i) => [images[i]!, ...columns.map((column) => row[column]!.toFixed(4))]),
  ]);
}

/** Scores the images one by one. @returns by image: `score`, and the weighted terms if there are several rewards */
async function scoreAll(
  engine: Engine,
  images: readonly string[],
  pixels: readonly Pixels[],
  prompts: readonly ImagePrompt[],
  reward: UserReward,
  signal: AbortSignal,
  output: Output,
) {
  const progress = output.progress('Scoring', images.length);
  const rows: Readonly<Record<string, number>>[] = [];
  try {
    for (const [i, image] of pixels.entries()) {
      signal.throwIfAborted();
      const { prompt, metadata } = prompts[i]!;
      const given = { prompts: prompt, engine, ...(metadata && { metadata: [metadata] }) };
      const { scores, terms } = await scoreImages(reward, [image], given);
      const row = {
        score: scores[0]!,
        ...Object.fromEntries(Object.entries(terms).map(([name, [value]]) => [name, value!])),
      };
      const { score, ...rest } = row;
      output.result({
        event: 'score',
        image: images[i],
        ...(prompt !== '' && { prompt }),
        score,
        ...(Object.keys(rest).length > 0 && { terms: rest }),
      });
      progress.update(i + 1);
      rows.push(row);
    }
    return rows;
  } finally {
    progress.stop();
    engine.dispose();
  }
}

/**
 * Returns the prompt of each image, '' if there is none.
 * @throws UsageError if a reward needs prompts and there are none, or their number is neither 1 nor that of images
 */
async function promptsOf(
  images: readonly string[],
  { prompt = [], prompts: path, promptColumn }: ScoreOptions,
  names: readonly string[],
  output: Output,
): Promise<readonly ImagePrompt[]> {
  const flag = path === undefined ? '--prompt' : '--prompts';
  const { list, remarks, warnings } =
    path === undefined
      ? { list: { prompts: prompt }, remarks: [], warnings: [] }
      : await readPrompts(path, '--prompts', { promptColumn });
  for (const remark of remarks) output.info(remark);
  for (const warning of warnings) output.warn(warning);
  const { prompts, promptMetadata }: PromptList = path === undefined ? list : joinPrompts({ prompts: prompt }, list);
  const reward = names.find(usesPrompt);
  if (prompts.length === 0 && reward)
    throw new UsageError(
      `--prompt: '${reward}' compares images with their prompts. Give --prompt once for all, or once for each image, ` +
        'or --prompts with a file of them.',
    );
  if (prompts.length > 1 && prompts.length !== images.length)
    throw new UsageError(
      `${flag}: got ${prompts.length} for ${images.length} images, expected one for all, or one for each image.`,
    );
  return images.map((_, i) => {
    const index = prompts.length > 1 ? i : 0;
    return { prompt: prompts[index] ?? '', metadata: promptMetadata?.[index] };
  });
}
