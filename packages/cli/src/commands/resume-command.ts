import { canonicalFlags } from '../options/flags.js';

/** Flags that are left out: one is replaced, the other is a secret (HF_TOKEN in the environment does the same). */
const omittedFlags = ['--resume-from', '--hf-user-access-token'];

/**
 * The command that continues a run from a checkpoint, quoted for a shell.
 * @param args the arguments of the command that started the run, without node and the script
 */
export function resumeCommand(args: readonly string[], checkpoint: string): string {
  const flags = canonicalFlags(args);
  const isOmitted = (arg: string, i: number): boolean =>
    omittedFlags.some((flag) => arg === flag || arg.startsWith(`${flag}=`) || flags[i - 1] === flag);
  return ['alignprop', ...flags.filter((arg, i) => !isOmitted(arg, i)), '--resume-from', checkpoint]
    .map((arg) => (/^[\w@%+=:,./-]+$/.test(arg) ? arg : JSON.stringify(arg)))
    .join(' ');
}
