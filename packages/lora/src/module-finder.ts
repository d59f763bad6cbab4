import type { Leaf } from '@alignprop/autograd-ext';
import { underscoredPath } from './layouts/kohya.js';
import { moduleOf, weightOf } from './modules.js';
import { originalNames } from './original-names.js';

/**
 * Returns a function from the name of a module in a file to the modules of the tree that it can mean: the module of
 * this path, or all modules that have this name in another program. Those are the path with underscores (kohya), the
 * path of a text encoder with or without `text_model.`, and the names of the original code of Stable Diffusion.
 */
export function moduleFinder(leaves: Readonly<Record<string, Leaf>>): (name: string) => readonly string[] {
  const modules = Object.keys(leaves)
    .filter((path) => path === weightOf(moduleOf(path)))
    .map(moduleOf);
  const byName = new Map<string, Set<string>>();
  const add = (name: string, module: string) => byName.set(name, (byName.get(name) ?? new Set()).add(module));
  const original = originalNames(modules);
  for (const module of modules)
    for (const name of [module, ...textNames(module), ...(original.get(module) ?? [])]) {
      add(name, module);
      add(underscoredPath(name), module);
    }
  return (name) => (leaves[weightOf(name)] ? [name] : [...(byName.get(name) ?? [])]);
}

/** Returns the names of a text encoder's module in versions of transformers with and without an inner model. */
const textNames = (module: string): string[] =>
  module.startsWith('text_model.') ? [module.slice('text_model.'.length)] : [`text_model.${module}`];
