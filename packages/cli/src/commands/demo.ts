import type { Command } from 'commander';
import { parseAlignPropConfig } from '@alignprop/trainer';
import { embeddedModel } from '../embedded-model.js';
import { prepareFolder } from '../images/image-files.js';
import { addEngineOptions, type EngineOptions } from '../options/engine-options.js';
import { loadPipeline } from '../options/model-options.js';
import { rewardTerms } from '../options/reward-terms.js';
import { addOutputOptions, Output, type OutputOptions } from '../terminal/output.js';
import { trainingRun } from './training-run.js';

interface DemoOptions extends EngineOptions, OutputOptions {
  outputDir: string;
}

// Two images a step, with the last two of ten denoising steps attached: the reward rises within two minutes on two
// cores, and the images keep their subjects. At twice this learning rate they fade to white, which compresses best.
const settings = {
  seed: 1,
  num_epochs: 20,
  train_batch_size: 2,
  train_learning_rate: 1.3e-3,
  sample_num_steps: 10,
  sample_guidance_scale: 4,
  sample_eta: 0,
  truncated_backprop_rand: false,
  truncated_backprop_timestep: 8,
  save_freq: 20,
  log_image_freq: 5,
  overwrite_output_dir: true,
} as const;

/** Adds the arguments, options and action of `alignprop demo`. */
export function defineCommand(command: Command): void {
  addOutputOptions(command)
    .option('--output-dir <folder>', 'Folder for the output files. Replaces the files of an earlier demo.', 'out/demo')
    .optionsGroup('Model:');
  addEngineOptions(command).action((options: DemoOptions) => demo(options));
}

async function demo(options: DemoOptions): Promise<void> {
  const output = new Output(options);
  const config = parseAlignPropConfig({ ...settings, output_dir: options.outputDir });
  await prepareFolder(config.output_dir);
  const pipeline = await loadPipeline(options, output);
  output.info(
    `Training ${embeddedModel.name} to draw images that make small JPEG files, ` +
      'then evaluating it on prompts that it was not trained on.',
  );
  const [prompts, evalPrompts] = [{ prompts: embeddedModel.prompts }, { prompts: embeddedModel.evalPrompts }];
  const reward = await rewardTerms(['jpeg-compressibility']).load();
  const resumeCommand = () => 'alignprop demo';
  await trainingRun({ config, pipeline, reward, prompts, evalPrompts, resumeCommand }, output);
  output.info(
    `Try it: alignprop generate "crab" --lora ${config.output_dir}/pytorch_lora_weights.safetensors -o crab.png ` +
      '--steps 10 --guidance-scale 4',
  );
}
