import type { Command } from 'commander';
import { table } from '@alignprop/autograd-ext/outside';
import { readJson, resolveSource, type HubOptions } from '@alignprop/autograd-ext/weights';
import { AutoencoderTiny, LinearDecoder, type Decoder } from '@alignprop/diffusion';
import { withDownloads } from '../terminal/downloads.js';
import type { Output } from '../terminal/output.js';
import type { ConfigOption } from './config-options.js';
import { modelSource } from './option-sources.js';
import { embeddedDecoder } from '../embedded-model.js';
import { pathExists } from '../path-exists.js';

/** Values of the option that names the decoder of the reward. */
export interface RewardDecoderOptions {
  rewardDecoder?: string;
  token?: string;
}

/** The name of the decoder that is fitted to the model. */
const linearName = 'linear';

/** The published decoders by short names, and that of the embedded model. */
const decoders = table<string>({
  taesd: 'madebyollin/taesd',
  taesdxl: 'madebyollin/taesdxl',
  [embeddedDecoder.name]: embeddedDecoder.path,
});

/** Steps between two sheets of images, which the model's own decoder has to draw in addition. */
const imageFrequency = 10;

/** Adds `--reward-decoder`. */
export const addRewardDecoder = (command: Command): Command =>
  command.option(
    '--reward-decoder <folder|hub id>',
    'Tiny decoder (AutoencoderTiny) of the images that the reward judges in training: less time and memory a step. ' +
      `A folder, a hub id, one of ${Object.keys(decoders).join(', ')}, or ${linearName}: a pixel for each latent, ` +
      'by a matrix that is fitted to pictures of the model before training. Pictures, evaluations and final ' +
      "scores always come from the model's own decoder. By default that judges as well.",
  );

/** The folder or hub id that a name stands for. */
export const decoderLocation = (name: string): string =>
  pathExists(name) || !Object.hasOwn(decoders, name) ? name : decoders[name]!;

/** Shows images of a run with a reward decoder every ten steps, where nothing else is set. */
export function applyImageFrequency(command: Command, fields: readonly ConfigOption[]): void {
  const { key } = fields.find(({ field }) => field === 'log_image_freq')!;
  if (command.opts<RewardDecoderOptions>().rewardDecoder === undefined) return;
  if (command.getOptionValueSource(key) === 'default')
    command.setOptionValueWithSource(key, imageFrequency, modelSource);
}

/**
 * Loads the decoder that is given, and says what it is for.
 * @param fit makes the linear one
 * @throws if it is no AutoencoderTiny or LinearDecoder
 */
export async function loadRewardDecoder(
  { rewardDecoder: name, token }: RewardDecoderOptions,
  fit: () => Promise<Decoder>,
  output: Output,
): Promise<Decoder | undefined> {
  if (name === undefined) return undefined;
  output.info(
    `The reward judges what the decoder ${name} makes of latents; pictures, evaluations and final scores come from ` +
      "the model's own decoder.",
  );
  if (name === linearName) return fit();
  return withDownloads(output, (access) => readDecoder(decoderLocation(name), { ...access, token }));
}

/** Reads a decoder of either class. */
async function readDecoder(location: string, options: HubOptions): Promise<Decoder> {
  const source = await resolveSource(location, options);
  const config = (await source.has('config.json')) ? await readJson(source, 'config.json') : {};
  const isLinear = (config as { _class_name?: unknown })._class_name === 'LinearDecoder';
  return (isLinear ? LinearDecoder : AutoencoderTiny).fromPretrained(source);
}
