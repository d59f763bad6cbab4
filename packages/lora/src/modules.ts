// Paths of modules in a tree of weights, and how they are named in targets and messages.

/** `mid_block.attn.to_q.weight` → `mid_block.attn.to_q` */
export const moduleOf = (path: string): string => path.replace(/\.?weight$/, '');

/** The path of a module's weight. */
export const weightOf = (module: string): string => (module ? `${module}.weight` : 'weight');

/** As in peft: a target is a module's whole path or the end of it, at a dot. */
export const matches = (module: string, target: string): boolean => module === target || module.endsWith(`.${target}`);

/** The last name of a path, together with the one before where it is a number: `to_q`, `to_out.0`. */
export const lastName = (module: string): string => /[^.]+(\.\d+)*$/.exec(module)?.[0] ?? module;

/** The first of many names, for messages. */
export function list(names: readonly string[], limit = 12): string {
  const shown = names.slice(0, limit).join(', ');
  return names.length > limit ? `${shown} and ${names.length - limit} more` : shown;
}
