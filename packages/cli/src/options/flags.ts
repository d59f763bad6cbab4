import { table } from '@alignprop/autograd-ext/outside';
import { trlRewardFlags } from './trl-reward-flags.js';

/** A command line with the flags in the spelling of the help. */
export interface CanonicalFlags {
  readonly args: readonly string[];
  /** Flags as they were typed, by the spelling of the help where that differs; errors name them so. */
  readonly typed: ReadonlyMap<string, string>;
}

/** An option that commands, or other programs, name differently. Each command accepts all of its names. */
export interface SharedOption {
  /** The names in the help, each with the commands that have it. */
  readonly names: Readonly<Record<string, readonly string[]>>;
  /** Names that no help lists as an option. */
  readonly others?: readonly string[];
  /** Values that the other names have, by which the option's own values are meant. */
  readonly values?: Readonly<Record<string, string>>;
}

const training = ['train', 'resume'];

/** The options of training have the names of TRL and accelerate, those of `generate` the names of diffusers. */
export const sharedOptions: readonly SharedOption[] = [
  { names: { '--steps': ['generate'], '--sample-num-steps': training } },
  { names: { '--guidance-scale': ['generate'], '--sample-guidance-scale': training } },
  { names: { '--eta': ['generate'], '--sample-eta': training } },
  { names: { '--negative-prompt': ['generate'], '--negative-prompts': training } },
  {
    names: { '--mixed-precision': ['generate', ...training] },
    others: ['--precision'],
    values: table({ float32: 'no', float16: 'fp16', bfloat16: 'bf16' }),
  },
  { names: { '--model': ['generate', 'export'] }, others: ['--pretrained-model'] },
  { names: { '--revision': ['generate', 'export'] }, others: ['--pretrained-revision'] },
  { names: { '--token': [...training, 'push'] }, others: ['--hf-user-access-token', '--hub-token'] },
  { names: { '--hub-model-id': [...training, 'push'] }, others: ['--hf-hub-model-id'] },
  { names: { '--hub-private': [...training, 'push'] }, others: ['--hub-private-repo'] },
];

const namesOf = ({ names, others = [] }: SharedOption): readonly string[] => [...Object.keys(names), ...others];

/** The name that a command itself has for an option; undefined for commands without the option. */
const ownName = ({ names }: SharedOption, command: string): string | undefined =>
  Object.keys(names).find((name) => names[name]!.includes(command));

/** Lists the other names of a command's options for its help: `--steps for --sample-num-steps`. */
export const otherNames = (command: string): string =>
  sharedOptions
    .flatMap((option) => {
      const own = ownName(option, command);
      return own ? namesOf(option).flatMap((name) => (name === own ? [] : [`${name} for ${own}`])) : [];
    })
    .join(', ');

/** Returns a command's own name of an option that has another here, and the values of it that have other names. */
function translation(flag: string, command: string): { own: string; values: SharedOption['values'] } | undefined {
  for (const option of sharedOptions) {
    const own = ownName(option, command);
    if (own !== undefined && own !== flag && namesOf(option).includes(flag)) return { own, values: option.values };
  }
  return undefined;
}

/**
 * Rewrites every flag to the spelling of the help: TRL's `--num_epochs` and `--no_allow_tf32`, and the older
 * `--alignprop_config.num_epochs`, become `--num-epochs` and `--no-allow-tf32`; `train --steps` and
 * `generate --sample-num-steps` become the command's own name. Leaves other values, and everything after `--`, as they
 * are.
 */
export function canonicalFlags(given: readonly string[]): CanonicalFlags {
  const command = given.find((arg) => !arg.startsWith('-')) ?? '';
  const args = training.includes(command) ? trlRewardFlags(given) : given;
  const end = args.includes('--') ? args.indexOf('--') : args.length;
  const typed = new Map<string, string>();
  let values: SharedOption['values'];
  const rewritten = args.map((arg, i) => {
    const [, written, name, value = ''] =
      /^(--(?:alignprop[_-]config\.)?([a-z][\w-]*))(=.*)?$/is.exec(i < end ? arg : '') ?? [];
    if (!written || !name) {
      const meant = values?.[arg] ?? arg;
      values = undefined;
      return meant;
    }
    const kebab = `--${name.replaceAll('_', '-')}`;
    const { own: flag, values: meant } = translation(kebab, command) ?? { own: kebab, values: undefined };
    if (flag !== written) typed.set(flag, written);
    values = meant;
    return `${flag}${value && `=${values?.[value.slice(1)] ?? value.slice(1)}`}`;
  });
  return { args: rewritten, typed };
}

/**
 * Gives an entry of a configuration file the command's own name and value.
 * @param name in kebab case
 * @returns undefined if it has them
 */
export function canonicalEntry(
  name: string,
  value: unknown,
  command: string,
): [name: string, value: unknown] | undefined {
  const { own, values } = translation(`--${name}`, command) ?? {};
  return own === undefined ? undefined : [own.slice(2), (typeof value === 'string' && values?.[value]) || value];
}

/** Replaces the flags that a message names by those that were typed: `--num_epochs` for `--num-epochs`. */
export const asTyped = (message: string, typed: CanonicalFlags['typed']): string =>
  message.replace(/--[a-z][\w-]*/gi, (flag) => typed.get(flag) ?? flag);
