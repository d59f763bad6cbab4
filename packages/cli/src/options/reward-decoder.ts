import type { Command } from 'commander';
import { table } from '@alignprop/autograd-ext/outside';
import { AutoencoderTiny } from '@alignprop/diffusion';
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
      `A folder, a hub id, or one of ${Object.keys(decoders).join(', ')}. Pictures, evaluations and final scores ` +
      "always come from the model's own decoder. By default that judges as well.",
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

/** Loads the decoder that is given, and says what it is for. @throws if it is no AutoencoderTiny */
export async function loadRewardDecoder(
  { rewardDecoder: name, token }: RewardDecoderOptions,
  output: Output,
): Promise<AutoencoderTiny | undefined> {
  if (name === undefined) return undefined;
  output.info(
    `The reward judges what the decoder ${name} makes of latents; pictures, evaluations and final scores come from ` +
      "the model's own decoder.",
  );
  return withDownloads(output, (access) => AutoencoderTiny.fromPretrained(decoderLocation(name), { ...access, token }));
}
