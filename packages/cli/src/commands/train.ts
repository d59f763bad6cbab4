import { readFile } from 'node:fs/promises';
import { Option, type Command } from 'commander';
import { parseAlignPropConfig, type AlignPropConfig } from '@alignprop/trainer';
import {
  acrossProcesses,
  exchange,
  launched,
  ReportedByRankZero,
  type Collective,
} from '@alignprop/trainer/distributed';
import { configOptions, givenFields, type ConfigOption } from '../options/config-options.js';
import { reportDryRun } from '../terminal/dry-run-report.js';
import { embeddedModel } from '../embedded-model.js';
import { describeBinding, hasFloat16, shareOfMachine } from '../options/engine-options.js';
import { errorMessage, isDebugging, ReportedElsewhere, UsageError } from '../terminal/errors.js';
import { canonicalFlags } from '../options/flags.js';
import { prepareFolder } from '../images/image-files.js';
import { loadPipeline, modelOptions, type ModelOptions } from '../options/load-pipeline.js';
import { Output, outputOptions, type OutputOptions } from '../terminal/output.js';
import { readPrompts, simpleAnimals } from '../options/prompt-list.js';
import { collect, rewardOptions, type RewardTermOptions } from '../options/reward-options.js';
import { rewardTerms, type RewardTerms } from '../options/reward-terms.js';
import { trainingRun } from './training-run.js';

interface TrainOptions extends ModelOptions, RewardTermOptions, OutputOptions {
  prompt?: string | readonly string[];
  /** A file, or the prompts themselves in a configuration file. */
  prompts?: string | readonly string[];
  evalPrompts?: string;
  evalReward?: string | readonly string[];
  config?: string;
  dryRun?: boolean;
  pretrainedModel?: string;
  pretrainedRevision?: string;
  hfUserAccessToken?: string;
}

const defaultFolder = 'out';

/** Gives `alignprop train` its options and what it does. */
export function defineTrain(command: Command): void {
  rewardOptions(modelOptions(command).optionsGroup('Task:'), 'What to train for, by default jpeg-compressibility')
    .option(
      '--prompts <file>',
      'Prompts to train on, one a line. (default: 45 animals; for the embedded model, subjects it draws well)',
    )
    .option('--prompt <text>', 'A prompt to train on; may be given several times.', collect)
    .option(
      '--eval-prompts <file>',
      'Prompts to draw and judge after training, without the adapter and with it, and every --eval-freq epochs.',
    )
    .option(
      '--eval-reward <name[:weight]>',
      'What these are judged by, and with it early stopping, as --reward; by default --reward itself, which cannot see that it is over-optimised.',
      collect,
    )
    .option('--config <file>', 'JSON with any of these options, in snake or camel case; flags go first.')
    .option(
      '--dry-run',
      'Print the configuration, what would be trained and written, and an estimate of the memory; train and write nothing.',
    );
  for (const name of ['pretrained-model', 'pretrained-revision', 'hf-user-access-token'])
    command.addOption(new Option(`--${name} <text>`).hideHelp());
  const fields = configOptions();
  for (const group of new Set(fields.map((field) => field.group)))
    addGroup(
      command.optionsGroup(group),
      fields.filter((field) => field.group === group),
    );
  outputOptions(command)
    .addHelpText('after', examples)
    .action(async () => train(command, fields));
}

function addGroup(command: Command, fields: readonly ConfigOption[]): void {
  for (const { field, options } of fields) {
    if (field === 'output_dir')
      Object.assign(options[0]!.default('', defaultFolder), {
        description: 'Folder for all that is written; see below.',
      });
    for (const option of options) command.addOption(option);
  }
}

const examples = `
Switches are given as --x, --no-x or --x false. TRL's spelling works too: --num_epochs, --no_allow_tf32, --truncated_rand_backprop_minmax 0 50.

Examples:
  $ alignprop train --num-epochs 20 --sample-num-steps 20 --truncated-rand-backprop-minmax 0 20
  $ alignprop train --model stable-diffusion-v1-5/stable-diffusion-v1-5 --prompts animals.txt --output-dir animals
  $ alignprop train --model stable-diffusion-v1-5/stable-diffusion-v1-5 --dry-run
  $ alignprop train --config out/config.json --resume-from out --num-epochs 200
  $ mpirun -np 4 --bind-to none alignprop train --num-epochs 20

Several processes, each with --train-batch-size images, their gradients averaged: Open MPI's mpirun, or srun --mpi=pmix. They need
Open MPI (apt-get install openmpi-bin libopenmpi3) and koffi, which npm installs where it can.

Files in the output folder:
  pytorch_lora_weights.safetensors, config.json, metrics.jsonl, samples/, checkpoints/, with --eval-prompts
  before-after.png, and with --eval-freq evaluations.jsonl and best/`;

async function train(command: Command, fields: readonly ConfigOption[]): Promise<void> {
  const unknown = await applyConfigFile(command);
  const options = command.opts<TrainOptions>();
  const config = trainConfig(command, fields, unknown);
  const { trained: rewards, judging: evalRewards } = trainRewards(options);
  const model = options.model ?? options.pretrainedModel;
  const prompts = await trainPrompts({ ...options, model });
  const evalPrompts = options.evalPrompts ? await readPrompts(options.evalPrompts) : [];
  if (config.eval_freq !== null && evalPrompts.length === 0)
    throw new UsageError(
      `--eval-freq: got ${config.eval_freq} without prompts to judge by. Give --eval-prompts <file>.`,
    );
  if (evalRewards && evalPrompts.length === 0)
    throw new UsageError(
      `--eval-reward: got ${evalRewards.names.join(', ')} without prompts to judge by. Give --eval-prompts <file>.`,
    );
  const precision = config.mixed_precision === 'fp16' && hasFloat16(options) ? 'float16' : 'float32';
  const run = async (collective: Collective): Promise<void> => {
    const output = new Output({ ...options, silent: collective.rank > 0 });
    const localSize = launched(process.env)?.localSize ?? 1;
    if (!options.dryRun && collective.rank === 0) await prepareFolder(config.output_dir);
    const load = async () => ({
      pipeline: await loadPipeline(
        {
          ...shareOfMachine(localSize),
          ...options,
          precision,
          model,
          revision: options.revision ?? options.pretrainedRevision,
          token: options.hfUserAccessToken,
        },
        output,
      ),
      reward: await rewards.load((text) => output.info(text)),
      evalReward: await evalRewards?.load((text) => output.info(text)),
    });
    const job = { config, prompts, evalPrompts, ...(await firstHere(collective, load)) };
    if (options.dryRun)
      return collective.rank === 0
        ? reportDryRun({ ...job, sources: sourcesOf(command, fields), maxMemory: options.maxMemory }, output)
        : undefined;
    const binding = options.threads === undefined && collective.size > 1 && describeBinding(localSize);
    if (binding) output.warn(binding);
    await trainingRun(
      { ...job, collective, resumeCommand: (checkpoint) => resumeCommand(process.argv.slice(2), checkpoint) },
      output,
    );
  };
  const describe = (error: unknown) => `error: ${errorMessage(error, isDebugging(command.optsWithGlobals()))}`;
  await acrossProcesses(run, { describe }).catch((error: unknown) => {
    throw error instanceof ReportedByRankZero ? new ReportedElsewhere(error.message, { cause: error.cause }) : error;
  });
}

/** Lets one process of each machine load first, so that the others find what it downloads. */
async function firstHere<T>(collective: Collective, load: () => Promise<T>): Promise<T> {
  const isFirst = (launched(process.env)?.localRank ?? 0) === 0;
  const loaded = isFirst ? await load() : undefined;
  await exchange(collective, 'what the first of a machine loads', null);
  return loaded ?? load();
}

/** Who gave the fields that were given. */
function sourcesOf(command: Command, fields: readonly ConfigOption[]): Record<string, string> {
  const names: Readonly<Record<string, string>> = { cli: 'flag', config: 'file' };
  return Object.fromEntries(
    fields.flatMap(({ field, key }) => {
      const source = names[command.getOptionValueSource(key) ?? ''];
      return source ? [[field, source]] : [];
    }),
  );
}

/** Takes what the file says for options that no flag gave. @returns entries that are no options */
async function applyConfigFile(command: Command): Promise<Record<string, unknown>> {
  const path = command.getOptionValue('config') as string | undefined;
  const entries = path === undefined ? [] : Object.entries(await readConfig(path));
  const known = new Set(command.options.map((option) => option.attributeName()));
  for (const [name, value] of entries) {
    const key = camelCase(name);
    if (known.has(key) && command.getOptionValueSource(key) !== 'cli')
      command.setOptionValueWithSource(key, value, 'config');
  }
  return Object.fromEntries(entries.filter(([name]) => !known.has(camelCase(name))));
}

async function readConfig(path: string): Promise<Record<string, unknown>> {
  const problem = (what: string, cause?: unknown) =>
    new UsageError(`--config: '${path}' ${what}. Give a JSON file such as a run's config.json.`, { cause });
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw problem(`cannot be read: ${(cause as Error).message}`, cause);
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw problem(`is not JSON: ${(cause as Error).message}`, cause);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw problem('is not a JSON object');
}

const camelCase = (name: string): string => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());

/** What flags and file say; the schema fills in the rest, and checks everything. */
function trainConfig(
  command: Command,
  fields: readonly ConfigOption[],
  unknown: Readonly<Record<string, unknown>>,
): AlignPropConfig {
  try {
    const config = parseAlignPropConfig({ ...givenFields(command, fields), ...unknown });
    const { output_dir, project_kwargs, logdir, run_name } = config;
    return {
      ...config,
      output_dir: output_dir || project_kwargs.project_dir || (run_name && `${logdir}/${run_name}`) || defaultFolder,
    };
  } catch (cause) {
    throw new UsageError((cause as Error).message, { cause });
  }
}

/** What images are trained for, and what those of held-out prompts are judged by where that is another. */
function trainRewards({ reward = 'jpeg-compressibility', evalReward = [], rewardOption }: TrainOptions): {
  trained: RewardTerms;
  judging?: RewardTerms;
} {
  const [trained, judging] = [[reward].flat(), [evalReward].flat()];
  return {
    trained: rewardTerms(trained, rewardOption, { others: judging }),
    ...(judging.length > 0 && {
      judging: rewardTerms(judging, rewardOption, { flag: '--eval-reward', others: trained }),
    }),
  };
}

async function trainPrompts({ model, prompt, prompts }: TrainOptions): Promise<readonly string[]> {
  if (prompt === undefined && prompts === undefined) return model === undefined ? embeddedModel.prompts : simpleAnimals;
  const list = [
    ...[prompt ?? []].flat(),
    ...(typeof prompts === 'string' ? await readPrompts(prompts) : (prompts ?? [])),
  ];
  if (list.length > 0) return list;
  throw new UsageError('--prompts: got an empty list, expected at least one prompt.');
}

// One is about to be given anew, the other is a secret, and the environment's HF_TOKEN does as well.
const notRepeated = ['--resume-from', '--hf-user-access-token'];

/** The same command, going on from this checkpoint. */
function resumeCommand(args: readonly string[], checkpoint: string): string {
  const flags = canonicalFlags(args);
  const others = flags.filter(
    (arg, i) => !notRepeated.some((flag) => arg === flag || arg.startsWith(`${flag}=`) || flags[i - 1] === flag),
  );
  return ['alignprop', ...others, '--resume-from', checkpoint]
    .map((arg) => (/^[\w@%+=:,./-]+$/.test(arg) ? arg : JSON.stringify(arg)))
    .join(' ');
}
