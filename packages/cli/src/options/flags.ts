/** A command line with the flags in the spelling of the help. */
export interface CanonicalFlags {
  readonly args: readonly string[];
  /** Flags as they were typed, by the spelling of the help where that differs; errors name them so. */
  readonly typed: ReadonlyMap<string, string>;
}

/**
 * Options of `generate`, and the name of the same option in `train`, which is TRL's. Both commands accept both names.
 */
export const sharedOptions: readonly (readonly [generate: string, train: string])[] = [
  ['--steps', '--sample-num-steps'],
  ['--guidance-scale', '--sample-guidance-scale'],
  ['--eta', '--sample-eta'],
  ['--negative-prompt', '--negative-prompts'],
];

/**
 * Rewrites every flag to the spelling of the help: TRL's `--num_epochs` and `--no_allow_tf32`, and the older
 * `--alignprop_config.num_epochs`, become `--num-epochs` and `--no-allow-tf32`; `train --steps` and
 * `generate --sample-num-steps` become the command's own name. Leaves values, and everything after `--`, as they are.
 */
export function canonicalFlags(args: readonly string[]): CanonicalFlags {
  const end = args.includes('--') ? args.indexOf('--') : args.length;
  const command = args.find((arg) => !arg.startsWith('-'));
  const typed = new Map<string, string>();
  const rewritten = args.map((arg, i) => {
    const [, written, name, value = ''] =
      /^(--(?:alignprop[_-]config\.)?([a-z][\w-]*))(=.*)?$/is.exec(i < end ? arg : '') ?? [];
    if (!written || !name) return arg;
    const flag = ownName(`--${name.replaceAll('_', '-')}`, command);
    if (flag !== written) typed.set(flag, written);
    return `${flag}${value}`;
  });
  return { args: rewritten, typed };
}

/** Returns the command's own name of an option that `generate` and `train` name differently. */
function ownName(flag: string, command: string | undefined): string {
  if (command === 'generate') return sharedOptions.find(([, train]) => train === flag)?.[0] ?? flag;
  if (command === 'train' || command === 'resume')
    return sharedOptions.find(([generate]) => generate === flag)?.[1] ?? flag;
  return flag;
}

/** Replaces the flags that a message names by those that were typed: `--num_epochs` for `--num-epochs`. */
export const asTyped = (message: string, typed: CanonicalFlags['typed']): string =>
  message.replace(/--[a-z][\w-]*/gi, (flag) => typed.get(flag) ?? flag);
