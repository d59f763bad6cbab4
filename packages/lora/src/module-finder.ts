import type { Leaf } from '@alignprop/autograd-ext';
import { underscoredPath } from './layouts/kohya.js';
import { moduleOf, weightOf } from './modules.js';

/**
 * Returns a function from the name of a module in a file to the modules of the tree that it can mean: the module of
 * this path or, for a name of kohya's, all modules with this underscored path.
 */
export function moduleFinder(leaves: Readonly<Record<string, Leaf>>): (name: string) => readonly string[] {
  const byName = new Map<string, string[]>();
  for (const path of Object.keys(leaves)) {
    const module = moduleOf(path);
    if (path !== weightOf(module)) continue;
    const name = underscoredPath(module);
    byName.set(name, [...(byName.get(name) ?? []), module]);
  }
  return (name) => (leaves[weightOf(name)] ? [name] : (byName.get(name) ?? []));
}
