/** The reward of TRL's example script: its flags, and the repository that it reads by default. */
const idFlag = 'hf-hub-aesthetic-model-id';
const fileFlag = 'hf-hub-aesthetic-model-filename';
const defaultId = 'trl-lib/ddpo-aesthetic-predictor';

/**
 * Replaces `--hf_hub_aesthetic_model_id` and `--hf_hub_aesthetic_model_filename` of TRL's example script by
 * `--reward-option aesthetic.head=<id>/<filename>`, with `--reward aesthetic` unless a reward is given.
 */
export function trlRewardFlags(args: readonly string[]): readonly string[] {
  const values = new Map<string, string>();
  const others: string[] = [];
  for (let i = 0; i < args.length && args[i] !== '--'; i++) {
    const [, name = '', value] = /^--([\w-]+)(?:=(.*))?$/s.exec(args[i]!) ?? [];
    const flag = name.replaceAll('_', '-');
    if (flag !== idFlag && flag !== fileFlag) {
      others.push(args[i]!);
      continue;
    }
    const given = value ?? args[++i];
    if (given === undefined) return args; // the parser says that a value is missing
    values.set(flag, given);
  }
  if (values.size === 0) return args;
  const head = [values.get(idFlag) ?? defaultId, values.get(fileFlag)].filter(Boolean).join('/');
  const hasReward = others.some((arg) => /^--reward(=|$)/.test(arg));
  const rest = args.includes('--') ? args.slice(args.indexOf('--')) : [];
  return [
    ...others,
    ...(hasReward ? [] : ['--reward', 'aesthetic']),
    '--reward-option',
    `aesthetic.head=${head}`,
    ...rest,
  ];
}
