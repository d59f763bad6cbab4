import type { AlignPropConfig } from '@alignprop/trainer';

/** The command that continues the run in a folder, quoted for a shell. */
export const resumeCommand = (folder: string): string => `alignprop resume ${quoted(folder)}`;

/** A run that has ended, as the commands that use it need it. */
export interface EndedRun {
  readonly config: AlignPropConfig;
  /** The file of the adapter that is best to use. Undefined if a whole UNet was trained, which has no such file. */
  readonly adapter?: string;
  /** A prompt to draw. */
  readonly prompt: string;
  /** The options of the run's manifest, which name the model. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** A sheet of images to look at. */
  readonly images?: string;
}

/**
 * Returns the commands that are likely to come next: to look at images, to draw with the adapter and the settings that
 * it was trained with, and to train on.
 */
export function nextCommands({ config, adapter, prompt, options = {}, images }: EndedRun): readonly string[] {
  const opener = { darwin: 'open', win32: 'start' }[process.platform as string] ?? 'xdg-open';
  return [
    ...(images ? [`${opener} ${quoted(images)}`] : []),
    ...(adapter ? [`alignprop generate ${quoted(prompt)} ${flags(generateFlags(config, adapter, options))}`] : []),
    `${resumeCommand(config.output_dir)} --num-epochs ${2 * config.num_epochs}`,
  ];
}

/** The options of `generate` that draw as the run did, without those that are undefined. */
function generateFlags(
  config: AlignPropConfig,
  adapter: string,
  { model, revision, variant }: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const { negative_prompts: negative } = config;
  return {
    lora: adapter,
    model,
    revision: model && revision,
    variant,
    steps: config.sample_num_steps,
    'guidance-scale': config.sample_guidance_scale,
    eta: config.sample_eta,
    'negative-prompt': [negative].flat()[0] || undefined,
    height: config.height ?? undefined,
    width: config.width ?? undefined,
  };
}

const flags = (values: Readonly<Record<string, unknown>>): string =>
  Object.entries(values)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `--${name} ${quoted(String(value))}`)
    .join(' ');

const quoted = (text: string): string => (/^[\w@%+=:,./-]+$/.test(text) ? text : JSON.stringify(text));
