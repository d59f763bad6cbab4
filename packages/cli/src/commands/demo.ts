import type { Command } from 'commander';
import { checkRunStart, parseAlignPropConfig, type ManifestParts } from '@alignprop/trainer';
import { demoSteps, embeddedModel } from '../embedded-model.js';
import { prepareFolder } from '../images/image-files.js';
import { addEngineOptions, type EngineOptions } from '../options/engine-options.js';
import { loadPipeline } from '../options/model-options.js';
import type { PromptList } from '../options/prompt-columns.js';
import { rewardTerms } from '../options/reward-terms.js';
import { runIdentity } from '../options/run-identity.js';
import { addOutputOptions, Output, type OutputOptions } from '../terminal/output.js';
import { runVersions } from './run-versions.js';
import { trainingRun } from './training-run.js';

interface DemoOptions extends EngineOptions, OutputOptions {
  outputDir: string;
}

const settings = {
  seed: 1,
  num_epochs: 20,
  ...demoSteps,
  save_freq: 20,
  log_image_freq: 5,
  overwrite_output_dir: true,
} as const;

/** Adds the arguments, options and action of `alignprop demo`. */
export function defineCommand(command: Command): void {
  addOutputOptions(command)
    .option('--output-dir <folder>', 'Folder for the output files. An earlier demo in it is moved aside.', 'out/demo')
    .optionsGroup('Model:');
  addEngineOptions(command).action((options: DemoOptions) => demo(options));
}

const rewardName = 'jpeg-compressibility';

/** The manifest of a run that `alignprop resume` can go on with, and that only another demo moves aside. */
async function demoManifest({
  prompts,
  evalPrompts,
}: Record<'prompts' | 'evalPrompts', PromptList>): Promise<ManifestParts> {
  const read = (list: PromptList) => ({ list, remarks: [], warnings: [] });
  const terms = { reward: [rewardName], evalReward: [], rewardOption: [], lora: [] };
  const lists = { training: read(prompts), evaluation: read(evalPrompts) };
  return {
    kind: 'demo',
    identity: await runIdentity({ ...terms, model: {}, prompts: lists }),
    options: { reward: [rewardName], prompt: prompts.prompts, evalPrompts: evalPrompts.prompts },
    versions: runVersions(),
  };
}

async function demo(options: DemoOptions): Promise<void> {
  const output = new Output(options);
  const config = parseAlignPropConfig({ ...settings, output_dir: options.outputDir });
  const lists = { prompts: { prompts: embeddedModel.prompts }, evalPrompts: { prompts: embeddedModel.evalPrompts } };
  const manifest = await demoManifest(lists);
  await checkRunStart({ config, manifest });
  await prepareFolder(config.output_dir);
  output.info(
    `Training ${embeddedModel.name} to draw images that make small JPEG files, ` +
      'then evaluating it on prompts that it was not trained on.',
  );
  const pipeline = await loadPipeline(options, output);
  const reward = await rewardTerms([rewardName]).load();
  await trainingRun({ algorithm: 'alignprop', config, pipeline, reward, ...lists, manifest }, output);
}
