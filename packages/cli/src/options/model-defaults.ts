import type { Command } from 'commander';
import { modelKind, readModelConfigs } from '@alignprop/diffusion';
import { modelDefaults } from '@alignprop/trainer';
import { embeddedModel } from '../embedded-model.js';
import { withDownloads } from '../terminal/downloads.js';
import { Output } from '../terminal/output.js';
import type { Algorithm } from './algorithm.js';
import { givenFields, type ConfigOption } from './config-options.js';
import type { ModelOptions } from './model-options.js';
import { modelSource } from './option-sources.js';

type ModelLocation = Pick<ModelOptions, 'model' | 'revision' | 'token' | 'modelConfig' | 'predictionType'>;

/**
 * Sets the fields of the configuration that fit a few-step model, where nothing else sets them. Reads the configs of
 * the model, not its weights.
 * @returns what was chosen and why; undefined for models that are trained as in TRL
 * @throws if the folder is no model
 */
export async function applyModelDefaults(
  command: Command,
  fields: readonly ConfigOption[],
  { model, revision, token, modelConfig: config, predictionType }: ModelLocation,
): Promise<string | undefined> {
  // DDPO needs steps with noise, which the schedulers of few-step models do not have at the end.
  if ((command.getOptionValue('algorithm') as Algorithm) === 'ddpo') return undefined;
  const configs = await withDownloads(new Output({ silent: true }), (access) =>
    readModelConfigs(model ?? embeddedModel.path, { ...access, revision, token, config, predictionType }),
  );
  const given = givenFields(command, fields);
  const defaults = modelDefaults(configs, given);
  const chosen: string[] = [];
  for (const { field, key, options } of fields) {
    if (!Object.hasOwn(defaults, field)) continue;
    command.setOptionValueWithSource(key, defaults[field as keyof typeof defaults], modelSource);
    if (field !== 'backprop_kwargs')
      chosen.push(
        `${options[0]!.long!} ${JSON.stringify(defaults[field as keyof typeof defaults]).replaceAll('"', '')}`,
      );
  }
  if (chosen.length === 0) return undefined;
  const { name } = modelKind(configs, given.scheduler as string | undefined);
  return `The model is ${name}: chose ${chosen.join(', ')}.`;
}
