import { Option, type Command } from 'commander';
import { ensureBackend, useBackend } from '@alignprop/autograd-ext';
import { rememberSecret } from '@alignprop/autograd-ext/outside';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { checkRunStart, type PlannedRun } from '@alignprop/trainer';
import {
  acrossProcesses,
  launched,
  ReportedByRankZero,
  together,
  type Collective,
} from '@alignprop/trainer/distributed';
import { embeddedModel } from '../embedded-model.js';
import { prepareFolder } from '../images/image-files.js';
import { addAlgorithm, type Algorithm } from '../options/algorithm.js';
import { checkCombinations } from '../options/combinations.js';
import { applyConfigFile } from '../options/config-file.js';
import { configOptions, type ConfigOption } from '../options/config-options.js';
import { bindingWarning, precisionOf, shareOfMachine } from '../options/engine-options.js';
import { otherNames } from '../options/flags.js';
import { addDataOptions, readDataOptions, type DataOptions, type RunData } from '../options/data-options.js';
import { addHubTarget, addToken, checkHubTarget, type HubTargetOptions } from '../options/hub-options.js';
import { addGuard, applyGuard, guardPrompts, isGuarded } from '../options/guard.js';
import { addMoreHelp } from '../options/help.js';
import { applyModelDefaults } from '../options/model-defaults.js';
import { addPipelineOptions, loadPipeline, type ModelOptions } from '../options/model-options.js';
import { collectValues, integerParser } from '../options/option-parsers.js';
import { simpleAnimals } from '../options/prompt-list.js';
import { addPromptOptions, readPromptOptions, type PromptOptions, type RunPrompts } from '../options/prompt-options.js';
import {
  addRewardDecoder,
  applyImageFrequency,
  loadRewardDecoder,
  type RewardDecoderOptions,
} from '../options/reward-decoder.js';
import { addRewardOptions, type RewardTermOptions } from '../options/reward-options.js';
import { runConfig, sourcesOf, type RunConfig } from '../options/run-config.js';
import { applyManifest, promptFiles } from '../options/run-manifest.js';
import { defaultReward, runRewards, type RunRewards } from '../options/run-rewards.js';
import {
  addStartingAdapter,
  applyAdapterFields,
  startFromAdapter,
  type StartingAdapterOptions,
} from '../options/starting-adapter.js';
import { errorMessage, isDebugging, ReportedElsewhere } from '../terminal/errors.js';
import { addOutputOptions, Output, type OutputOptions } from '../terminal/output.js';
import { ddpoAdvice, suggestDdpo } from './ddpo-command.js';
import { blankDecoder, fittedDecoder } from './linear-decoder.js';
import { reportDryRun } from './dry-run-report.js';
import { reportPrompts } from './prompt-report.js';
import { manifestParts } from './manifest-parts.js';
import { pushRun } from './push-run.js';
import { trainingRun } from './training-run.js';

interface TrainOptions
  extends
    ModelOptions,
    RewardTermOptions,
    PromptOptions,
    DataOptions,
    OutputOptions,
    StartingAdapterOptions,
    RewardDecoderOptions,
    HubTargetOptions {
  algorithm: Algorithm;
  evalReward?: string | readonly string[];
  config?: string;
  dryRun?: boolean;
  force?: readonly string[];
  rankTimeout?: number;
  resumeFrom?: string;
  pretrainedModel?: string;
  pretrainedRevision?: string;
}

const defaultFolder = 'out';

/** Adds the arguments, options and action of `alignprop train`. */
export function defineCommand(command: Command): void {
  const fields = addTrainingOptions(command);
  addMoreHelp(command.addHelpText('after', examples), details).action(async () => train(command, fields));
}

/** Adds the options of a training run. @returns those that are fields of its configuration */
export function addTrainingOptions(command: Command): readonly ConfigOption[] {
  const fields = configOptions();
  addTaskOptions(addStartingAdapter(addPipelineOptions(command)));
  for (const name of ['pretrained-model', 'pretrained-revision'])
    command.addOption(new Option(`--${name} <text>`).hideHelp());
  for (const group of new Set(fields.map((field) => field.group)))
    addGroup(
      command.optionsGroup(group),
      fields.filter((field) => field.group === group),
    );
  addToken(addHubTarget(command.optionsGroup('Hub:')));
  addOutputOptions(command);
  return fields;
}

function addTaskOptions(command: Command): void {
  const task = addAlgorithm(command.optionsGroup('Task:'));
  addGuard(
    addDataOptions(addPromptOptions(addRewardDecoder(addRewardOptions(task, 'Reward to maximise', defaultReward)))),
  )
    .option(
      '--eval-reward <name[:weight]>',
      'Reward for the evaluation and for early stopping, written like --reward. By default --reward itself, ' +
        'which does not show over-optimisation.',
      collectValues,
    )
    .option(
      '--config <file>',
      'JSON or YAML file with any of these options, in snake or camel case. Flags override it.',
    )
    .option(
      '--force <name>',
      'Option that a resumed run may change although that is refused, such as lora_alpha; may be given several times.',
      collectValues,
    )
    .addOption(
      new Option(
        '--rank-timeout <seconds>',
        'With several processes: how long one waits for the others before all end. (default: 3600)',
      ).argParser(integerParser(1)),
    )
    .option(
      '--dry-run',
      'Print the configuration, the training plan, the output files and a memory estimate. ' +
        'Trains nothing and writes nothing.',
    );
}

function addGroup(command: Command, fields: readonly ConfigOption[]): void {
  for (const { field, options } of fields) {
    if (field === 'output_dir')
      Object.assign(options[0]!.default('', defaultFolder), {
        flags: '--output-dir <folder>',
        description: 'Folder for all output files.',
      });
    for (const option of options) command.addOption(option);
  }
}

const examples = `
Examples:
  $ alignprop train --num-epochs 20 --sample-num-steps 20 --truncated-rand-backprop-minmax 0 20
  $ alignprop train --model stable-diffusion-v1-5/stable-diffusion-v1-5 --prompts animals.txt --output-dir animals
  $ alignprop train --model stable-diffusion-v1-5/stable-diffusion-v1-5 --dry-run
  $ alignprop train --algorithm ddpo --reward "exec:python score.py"
  $ alignprop resume out --num-epochs 200`;

const details = `
Booleans are given as --x, --no-x, --x true or --x false. TRL's spelling works too: --num_epochs,
--no_allow_tf32, --truncated_rand_backprop_minmax 0 50.
Also accepted, here and in configuration files: ${otherNames('train')}.

Several processes: start them with Open MPI's mpirun (mpirun -np 4 --bind-to none alignprop train --num-epochs 20), or
with srun --mpi=pmix. Each draws --train-batch-size images, and the gradients are averaged. This needs Open MPI
(apt-get install openmpi-bin libopenmpi3) and koffi, an optional npm package that is installed where the platform
supports it.

Files in the output folder:
  pytorch_lora_weights.safetensors, run.json, config.json, metrics.jsonl, samples/, checkpoints/,
  the files of the prompts, README.md (a model card), before-after.png and pictures/ with --eval-prompts,
  evaluations.jsonl, evaluations/ and best/ with --eval-freq or the guard`;

/**
 * Runs `alignprop train` with the options that the command has parsed. A run that is resumed has the options of its
 * manifest where neither flags nor a configuration file set them.
 */
export async function train(command: Command, fields: readonly ConfigOption[]): Promise<void> {
  const keys = fields.map(({ key }) => key);
  const configFile = await applyConfigFile(command, keys);
  const { resumeFrom } = command.opts<TrainOptions>();
  const resumed = resumeFrom ? await applyManifest(command, fields, resumeFrom) : undefined;
  const remarks = checkCombinations(command, configFile.places, resumed?.options);
  await applyAdapterFields(command, fields);
  const options = command.opts<TrainOptions>();
  const { algorithm, token } = options;
  rememberSecret(token ?? '');
  const named = namedModel(options);
  applyImageFrequency(command, fields);
  const advice = ddpoAdvice(command, fields);
  const rewards = runRewards(options, advice);
  const data = await readDataOptions(options);
  const prompts = await readPromptOptions(options, defaultPrompts(options, named.model, data));
  await (options.backend ? useBackend(options.backend) : ensureBackend());
  await checkRewards(rewards, options);
  const run = async (collective: Collective): Promise<void> => {
    const output = new Output({ ...options, silent: collective.rank > 0 });
    const { chosen, config } = await together(collective, 'the configuration', async () => ({
      chosen: await chooseDefaults(command, fields, named, resumed !== undefined),
      config: runConfig(command, fields, configFile.places, defaultFolder),
    }));
    for (const warning of [...configFile.warnings, ...(resumed?.warnings ?? []), ...remarks]) output.warn(warning);
    if (chosen) output.info(chosen);
    const localSize = launched(process.env)?.localSize ?? 1;
    const precision = precisionOf(config.mixed_precision, options);
    const modelOptions = { ...modelOptionsOf(options, localSize), precision };
    const inputs = { ...namedInputs(options), model: modelOptions, prompts, data };
    const start = await together(collective, 'the inputs', async () => {
      const manifest = { ...(await manifestParts(command, fields, inputs, output)), kind: resumed?.manifest.kind };
      return { manifest, force: options.force, files: await promptFiles(command.opts()) };
    });
    const repository = await pushTarget(collective, config, options, output);
    if (!options.dryRun) await claimFolder(collective, { config, algorithm, ...start });
    const loadBefore = () => modelBefore(modelOptions, options);
    const parts = { options, modelOptions, config, prompts, rewards, loadBefore };
    const loaded = await loadInTurn(collective, () => loadParts(parts, output));
    reportPrompts(prompts, config, loaded.pipeline.tokenizer, output);
    const job = { algorithm, config, data, loadBefore, ...promptLists(prompts, config, isGuarded(command)), ...loaded };
    if (options.dryRun) {
      const dry = { ...job, sources: sourcesOf(command, fields), maxMemory: options.maxMemory };
      if (collective.rank === 0) await reportDryRun(dry, output);
      return;
    }
    warnOfBinding(options, collective, localSize, output);
    await trainingRun({ ...job, ...start, collective, repository, token }, output).catch(suggestDdpo(advice));
    if (repository !== undefined) await pushRun(config.output_dir, repository, options, output);
  };
  const describe = (error: unknown) => `error: ${errorMessage(error, isDebugging(command.optsWithGlobals()))}`;
  await acrossProcesses(run, { describe, timeout: options.rankTimeout }).catch((error: unknown) => {
    throw error instanceof ReportedByRankZero ? new ReportedElsewhere(error.message, { cause: error.cause }) : error;
  });
}

/** Loads the models of a run, its rewards and their decoder. */
async function loadParts({ options, modelOptions, config, prompts, rewards, loadBefore }: PartsToLoad, output: Output) {
  const models = await startFromAdapter(await loadPipeline(modelOptions, output), options, output);
  const fitted = { config, prompts: prompts.training.list.prompts, loadBefore };
  const fit = async () => (options.dryRun ? blankDecoder(models.pipeline) : fittedDecoder(fitted, output));
  return {
    ...models,
    reward: await rewards.training.load((text) => output.info(text)),
    evalReward: await rewards.evaluation?.load((text) => output.info(text)),
    rewardDecoder: await loadRewardDecoder(options, fit, output),
  };
}

interface PartsToLoad {
  readonly options: TrainOptions;
  readonly modelOptions: ModelOptions;
  readonly config: RunConfig;
  readonly prompts: RunPrompts;
  readonly rewards: RunRewards;
  readonly loadBefore: () => Promise<StableDiffusionPipeline>;
}

/** Loads the model as it is before training once more, on an engine of its own, and prints nothing. */
async function modelBefore(model: ModelOptions, options: TrainOptions): Promise<StableDiffusionPipeline> {
  const silent = new Output({ silent: true });
  return (await startFromAdapter(await loadPipeline(model, silent), options, silent)).before;
}

/** The training prompts of a run that is given none: the captions, where its estimator starts from pictures. */
function defaultPrompts(
  { estimatorImages }: DataOptions,
  model: string | undefined,
  data: RunData | undefined,
): readonly string[] {
  if (estimatorImages === 'dataset' && data?.kind === 'files') return data.files.map(({ caption }) => caption);
  return model === undefined ? embeddedModel.prompts : simpleAnimals;
}

/** The prompts of a job. The guard has some of the held-out ones, or where there are none some of its own. */
const promptLists = ({ training, evaluation }: RunPrompts, { eval_freq }: RunConfig, isGuarded: boolean) => ({
  prompts: training.list,
  evalPrompts: evaluation?.list,
  guardPrompts:
    eval_freq !== null && (isGuarded || !evaluation) ? guardPrompts((evaluation ?? training).list) : undefined,
});

/** Sets options that the model and the guard decide. @returns what was chosen for the model */
async function chooseDefaults(
  command: Command,
  fields: readonly ConfigOption[],
  named: ReturnType<typeof namedModel>,
  isResumed: boolean,
): Promise<string | undefined> {
  const chosen = isResumed ? undefined : await applyModelDefaults(command, fields, named);
  applyGuard(command, fields);
  return chosen;
}

/** Checks the rewards before anything is loaded. A dry run says which files of the user it executes. */
async function checkRewards({ training, evaluation }: RunRewards, options: TrainOptions): Promise<void> {
  if (options.dryRun) announceCode([...training.files, ...(evaluation?.files ?? [])], options);
  await training.check();
  await evaluation?.check();
}

/** Reads the options of the model, in TRL's spelling as well, for one of the processes on this machine. */
const modelOptionsOf = (options: TrainOptions, localSize: number) => ({
  ...shareOfMachine(localSize),
  ...options,
  ...namedModel(options),
});

const namedModel = (options: TrainOptions) => ({
  model: options.model ?? options.pretrainedModel,
  revision: options.revision ?? options.pretrainedRevision,
  token: options.token,
});

/** Checks on rank 0 where the run is to be pushed. @returns the repository there; undefined on other ranks */
const pushTarget = (
  collective: Collective,
  { push_to_hub }: RunConfig,
  options: TrainOptions,
  output: Output,
): Promise<string | undefined> =>
  together(collective, 'the repository of the hub', async () =>
    push_to_hub && collective.rank === 0 ? checkHubTarget(options, output) : undefined,
  );

function warnOfBinding({ threads }: TrainOptions, { size }: Collective, localSize: number, output: Output): void {
  const warning = threads === undefined && size > 1 && bindingWarning(localSize);
  if (warning) output.warn(warning);
}

/** Says which files of the user a dry run executes: it computes nothing else. */
function announceCode(files: readonly string[], options: TrainOptions): void {
  if (files.length > 0)
    new Output(options).info(`Runs the code of ${[...new Set(files)].join(' and ')}, also in a dry run.`);
}

/** The rewards and adapters that the options name. */
const namedInputs = ({
  reward = defaultReward,
  evalReward = [],
  rewardOption = [],
  lora = [],
  loraFreeze,
  rewardDecoder,
}: TrainOptions) => ({
  reward: [reward].flat(),
  evalReward: [evalReward].flat(),
  rewardOption,
  lora: [lora].flat(),
  loraFreeze,
  rewardDecoder,
});

/** Checks on rank 0 that the run may start in its folder, and creates that. @throws on all processes, if it may not */
const claimFolder = (collective: Collective, run: PlannedRun): Promise<void> =>
  together(collective, 'the check of the folder', async () => {
    if (collective.rank > 0) return;
    await checkRunStart(run);
    await prepareFolder(run.config.output_dir);
  });

/**
 * Loads on one process of each machine first, so that the others find its downloads in the cache.
 * @throws on all processes, if one cannot load
 */
async function loadInTurn<T>(collective: Collective, load: () => Promise<T>): Promise<T> {
  const isFirst = (launched(process.env)?.localRank ?? 0) === 0;
  const loaded = await together(collective, 'loading on the first process of each machine', async () =>
    isFirst ? load() : undefined,
  );
  return together(collective, 'loading', async () => loaded ?? load());
}
