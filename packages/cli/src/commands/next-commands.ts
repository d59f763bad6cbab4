import type { RunConfig } from '../options/run-config.js';
import { launchedCommand, ownCommand } from '../terminal/program-command.js';
import { commandLine, userShell } from '../terminal/shell.js';

/**
 * The command that continues the run in a folder, quoted for the user's shell.
 * @param launcher the arguments that start as many processes
 * @param flags more words of it
 */
export const resumeCommand = (folder: string, launcher: readonly string[] = [], ...flags: readonly string[]): string =>
  launchedCommand(launcher, 'resume', asPath(folder), ...flags);

/** A run that has ended, as the commands that use it need it. */
export interface EndedRun {
  readonly config: RunConfig;
  /** The file of the adapter that is best to use. Undefined if a whole UNet was trained, which has no such file. */
  readonly adapter?: string;
  /** The scheduler that `generate` takes for the model by default; ddim if it is not given. */
  readonly modelScheduler?: string;
  /** A prompt to draw. */
  readonly prompt: string;
  /** The options of the run's manifest, which name the model. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** The arguments that start as many processes as trained; none for a single one. */
  readonly launcher?: readonly string[];
  /** A sheet of images to look at. */
  readonly images?: string;
}

/**
 * Returns the commands that are likely to come next: to look at images, to draw with the adapter and the settings that
 * it was trained with, to train on, and to see how it went.
 */
export function nextCommands(run: EndedRun): readonly string[] {
  const { config, adapter, prompt, launcher, images } = run;
  return [
    ...(images ? [commandLine([...opener(), asPath(images)])] : []),
    ...(adapter ? [drawCommand(prompt, generateFlags(run, adapter))] : []),
    resumeCommand(config.output_dir, launcher, '--num-epochs', `${2 * config.num_epochs}`),
    ownCommand('report', asPath(config.output_dir)),
  ];
}

/** The command that opens a file. The first argument in quotes of cmd's `start` is a title. */
function opener(): readonly string[] {
  if (process.platform === 'win32') return userShell() === 'cmd' ? ['start', ''] : ['start'];
  return [process.platform === 'darwin' ? 'open' : 'xdg-open'];
}

/** A path that is not taken for an option. */
const asPath = (path: string): string => (path.startsWith('-') ? `./${path}` : path);

/** The options of `generate` that draw as the run did, without those that are undefined. */
function generateFlags(
  { config, options = {}, modelScheduler = 'ddim' }: EndedRun,
  adapter: string,
): Record<string, unknown> {
  const { model, revision, variant, lora, loraFreeze, modelConfig, predictionType } = options;
  const { negative_prompts: negative } = config;
  return {
    lora: loraFreeze ? [...[lora].flat(), adapter] : adapter,
    model,
    revision: model && revision,
    variant,
    'model-config': modelConfig,
    'prediction-type': predictionType,
    scheduler: config.scheduler === modelScheduler ? undefined : config.scheduler,
    steps: config.sample_num_steps,
    'guidance-scale': config.sample_guidance_scale,
    'guidance-interval': ('guidance_interval' in config && config.guidance_interval?.join(',')) || undefined,
    eta: config.sample_eta,
    'negative-prompt': [negative].flat()[0] || undefined,
    'clip-skip': config.clip_skip || undefined,
    'long-prompts': ('long_prompts' in config && config.long_prompts) || undefined,
    height: config.height ?? undefined,
    width: config.width ?? undefined,
  };
}

function drawCommand(prompt: string, flags: Readonly<Record<string, unknown>>): string {
  const words = Object.entries(flags).flatMap(([name, value]) =>
    value === undefined
      ? []
      : value === true
        ? [`--${name}`]
        : [value].flat().flatMap((one) => option(name, String(one as string | number))),
  );
  return ownCommand('generate', ...(isOption(prompt) ? option('prompt', prompt) : [prompt]), ...words);
}

/** The words of an option. A value that looks like one itself is attached to the name. */
export const option = (name: string, value: string): readonly string[] =>
  isOption(value) ? [`--${name}=${value}`] : [`--${name}`, value];

const isOption = (word: string): boolean => word.startsWith('-');
