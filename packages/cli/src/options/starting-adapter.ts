import { excerptJson } from '@alignprop/autograd-ext/outside';
import type { Command } from 'commander';
import type { Params } from '@alignprop/autograd-ext';
import { record } from '@alignprop/autograd-ext/outside';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { openLora, type LowRankAdapter } from '@alignprop/lora';
import { withDownloads } from '../terminal/downloads.js';
import { UsageError } from '../terminal/errors.js';
import { Output } from '../terminal/output.js';
import { absorbed, applyAdapters } from './apply-adapters.js';
import type { ConfigOption } from './config-options.js';
import { collectLora, type LoraChoice } from './lora-options.js';
import { adapterSource } from './option-sources.js';
import { collectValues, parseNumber } from './option-parsers.js';

/** Values of the options that name the adapter that a run starts from. */
export interface StartingAdapterOptions {
  lora?: string | readonly string[];
  loraFile?: string;
  loraFreeze?: boolean;
  loraScale?: number;
  token?: string;
}

/** Adds `--lora`, `--lora-file`, `--lora-freeze` and `--lora-scale`. */
export const addStartingAdapter = (command: Command): Command =>
  command
    .option(
      '--lora <adapter[:weight]>',
      'Adapter to go on training, with the rank, alpha and kind that it has: a file of any program, a folder, or of ' +
        'the hub org/name or org/name/file. With --lora-freeze several, each with its strength.',
      collectValues,
    )
    .option('--lora-file <name>', 'Name of the file in a folder or repository with several.')
    .option('--lora-freeze', 'Make the adapter of --lora part of the model, and train a new one upon it.')
    .option(
      '--lora-scale <n>',
      'With --lora-freeze, the strength of adapters that are given without a weight. (default: 1)',
      parseNumber,
    );

const choices = ({ lora = [] }: StartingAdapterOptions): readonly LoraChoice[] =>
  [lora].flat().reduce<readonly LoraChoice[]>((all, text) => collectLora(text, all), []);

/**
 * Sets the fields of the configuration that the adapter's file determines, if a run goes on training one.
 * @throws UsageError if flags or a configuration file set another value, if there are several adapters or one with a
 *   weight, or if none is given to freeze
 */
export async function applyAdapterFields(command: Command, fields: readonly ConfigOption[]): Promise<void> {
  applyScale(command);
  const options = command.opts<StartingAdapterOptions>();
  const [choice, ...others] = choices(options);
  if (!choice || options.loraFreeze) return;
  if (others.length > 0 || choice.weight !== undefined)
    throw new UsageError(
      `--lora: got ${[options.lora].flat().join(', ')}, expected one adapter without a weight to go on training. ` +
        'Give --lora-freeze to train a new one upon them.',
    );
  for (const [field, value] of Object.entries(await readFields(choice.source, options))) {
    const { key } = fields.find((one) => one.field === field)!;
    const given: unknown = command.getOptionValue(key);
    const isGiven = command.getOptionValueSource(key) !== 'default' && given !== undefined;
    if (isGiven && given !== value)
      throw new UsageError(
        `--${field.replaceAll('_', '-')}: got ${excerptJson(given)}, but the adapter '${choice.source}' has ` +
          `${String(value)}. Leave it out, or train a new adapter upon that one with --lora-freeze.`,
      );
    command.setOptionValueWithSource(key, value, adapterSource);
  }
}

/**
 * Writes the strength of `--lora-scale` behind the adapters that have none, so that the run's manifest and its next
 * commands have it.
 */
function applyScale(command: Command): void {
  const { loraScale, ...options } = command.opts<StartingAdapterOptions>();
  if (loraScale === undefined) return;
  const weighted = choices(options).map(({ source, weight = loraScale }) => `${source}:${weight}`);
  command.setOptionValueWithSource('lora', weighted, command.getOptionValueSource('lora'));
  command.setOptionValueWithSource('loraScale', undefined, undefined);
}

/** Reads the fields of the configuration that a file determines. Where ranks differ, that of the first module. */
async function readFields(
  source: string,
  { loraFile: file, token }: StartingAdapterOptions,
): Promise<Readonly<Record<string, unknown>>> {
  const opened = await withDownloads(new Output({ silent: true }), (access) =>
    openLora(source, { ...access, file, token }),
  );
  const { location, components } = opened;
  const modules = Object.values(components).flatMap((state) => Object.values(state.modules));
  const first = modules.find((module): module is LowRankAdapter => module.kind !== 'merged' && Boolean(module.a));
  if (!first)
    throw new UsageError(
      `--lora: ${location} has no low-rank factors, expected LoRA, LoCon or DoRA to go on training. ` +
        'Train a new adapter upon it with --lora-freeze.',
    );
  return {
    lora_kind: first.kind,
    lora_rank: first.a!.shape[0],
    lora_alpha: first.alpha,
    ...(Object.keys(components).some((name) => name.startsWith('text_encoder')) && { train_text_encoder: true }),
  };
}

/** A pipeline that training starts from. */
export interface StartingPipeline {
  /** With a trainable adapter, where a run goes on training one. */
  readonly pipeline: StableDiffusionPipeline;
  /** The same model as it is before training. */
  readonly before: StableDiffusionPipeline;
}

/** Applies the adapter that a run starts from: trainable, or as a part of the frozen weights. */
export async function startFromAdapter(
  pipeline: StableDiffusionPipeline,
  options: StartingAdapterOptions,
  output: Output,
): Promise<StartingPipeline> {
  const lora = choices(options);
  if (lora.length === 0) return { pipeline, before: pipeline };
  const given = { lora, loraFile: options.loraFile, loraScale: 1, token: options.token };
  const before = await applyAdapters(pipeline, given, output);
  if (!options.loraFreeze)
    return { pipeline: await applyAdapters(pipeline, { ...given, trainable: true }, output), before };
  const frozen = await fused(before);
  return { pipeline: frozen, before: frozen };
}

/** Makes the adapters part of the weights, and frees them. */
async function fused(pipeline: StableDiffusionPipeline): Promise<StableDiffusionPipeline> {
  const params = record<Params>();
  for (const [name, tree] of Object.entries(pipeline.params)) params[name] = await absorbed(tree);
  return pipeline.withParams(params);
}
