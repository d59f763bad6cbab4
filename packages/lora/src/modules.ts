import { excerpt } from '@alignprop/autograd-ext/outside';
// Paths of modules in a tree of weights, and their names in targets and messages.

/** Returns the module of a weight: `mid_block.attn.to_q.weight` → `mid_block.attn.to_q`. */
export const moduleOf = (path: string): string => path.replace(/\.?weight$/, '');

/** Returns the path of a module's weight: the inverse of `moduleOf`. */
export const weightOf = (module: string): string => (module ? `${module}.weight` : 'weight');

/** Whether a target names a module, as in peft: by its whole path or by the end of it, after a dot. */
export const matches = (module: string, target: string): boolean => module === target || module.endsWith(`.${target}`);

/**
 * Returns the name by which diffusers' scripts call a module among `target_modules`: the last name of its path with the
 * numbers that follow it (`to_q`, `to_out.0`), or more where that says little (`ff.net.0.proj`, `downsamplers.0.conv`).
 */
export const lastName = (module: string): string =>
  /(?:ff\.net\.\d+\.proj|ff\.net\.\d+|(?:down|up)samplers\.\d+\.conv|[^.]+(?:\.\d+)*)$/.exec(module)?.[0] ?? module;

/** Joins names for a message, the first `limit` of them. */
export function list(names: readonly string[], limit = 12): string {
  const shown = names
    .slice(0, limit)
    .map((name) => excerpt(name))
    .join(', ');
  return names.length > limit ? `${shown} and ${names.length - limit} more` : shown;
}
