/**
 * Rewrites every flag to the spelling of the help: TRL's `--num_epochs` and `--no_allow_tf32`, and the older
 * `--alignprop_config.num_epochs`, become `--num-epochs` and `--no-allow-tf32`. Leaves values, and everything after
 * `--`, as they are.
 */
export function canonicalFlags(args: readonly string[]): string[] {
  const end = args.includes('--') ? args.indexOf('--') : args.length;
  return args.map((arg, i) => (i < end ? canonicalFlag(arg) : arg));
}

function canonicalFlag(arg: string): string {
  const [, prefix, name, value = ''] = /^(--)(?:alignprop[_-]config\.)?([a-z][\w-]*)(=.*)?$/is.exec(arg) ?? [];
  return prefix && name ? `${prefix}${name.replaceAll('_', '-')}${value}` : arg;
}
