import { elementCount, type StoredTensor } from '@alignprop/autograd-ext';
import { excerpt, record } from '@alignprop/autograd-ext/outside';
import { adapterKinds } from '../kinds/adapter-kinds.js';
import type { AdapterKind } from '../kinds/adapter-kind.js';
import type { AdapterPart, AdapterParts } from '../kinds/adapter-part.js';
import type { ModuleAdapter } from '../lora-state.js';
import { list } from '../modules.js';
import { guessComponent, readKey, splitPath, type AdapterKey } from './adapter-key.js';
import type { SettingsOf } from './adapter-settings.js';
import { refusedKey } from './refused-keys.js';

/** The tensors of each adapted module of a part of the pipeline. */
export type Modules = ReadonlyMap<string, AdapterParts>;

type Tensors = ReadonlyMap<string, StoredTensor>;

/**
 * Sorts the tensors of a file by part of the pipeline, module and kind of tensor.
 * @param wanted the part that keys count for if they do not name it, and their modules do not show it
 * @throws an error that names keys of no known spelling or of a kind that is not applied, keys that mean the same, or
 *   the names of several adapters
 */
export function sortTensors(tensors: Tensors, wanted: string, location: string): ReadonlyMap<string, Modules> {
  const components = new Map<string, Map<string, Partial<Record<AdapterPart, StoredTensor>>>>();
  const unknown: string[] = [];
  const repeated: string[] = [];
  const adapterNames = new Set<string>();
  for (const [key, tensor] of tensors) {
    const refused = refusedKey(key);
    if (refused)
      throw new Error(
        `loadLora: ${location} has ${refused.kind} (${excerpt(key)}), which is not read. ${refused.advice}`,
      );
    const meaning = readKey(key) ?? readFactorKey(key, tensors);
    if (!meaning) {
      unknown.push(key);
      continue;
    }
    const component = meaning.component ?? guessComponent(meaning.module, wanted);
    const modules = components.get(component) ?? new Map<string, Partial<Record<AdapterPart, StoredTensor>>>();
    const parts = modules.get(meaning.module) ?? {};
    if (parts[meaning.part]) repeated.push(key);
    if (meaning.adapterName !== undefined) adapterNames.add(meaning.adapterName);
    parts[meaning.part] = tensor;
    components.set(component, modules.set(meaning.module, parts));
  }
  checkKeys({ unknown, repeated, adapterNames: [...adapterNames] }, location);
  return components;
}

/** Reads LyCORIS' key of (IA)³, `<module>.weight`, which is one only beside `<module>.on_input`. */
function readFactorKey(key: string, tensors: Tensors): AdapterKey | undefined {
  const path = key.replace(/\.weight$/, '');
  return path !== key && tensors.has(`${path}.on_input`) ? { ...splitPath(path), part: 'weight' } : undefined;
}

interface KeyProblems {
  readonly unknown: readonly string[];
  readonly repeated: readonly string[];
  readonly adapterNames: readonly string[];
}

function checkKeys({ unknown, repeated, adapterNames }: KeyProblems, location: string): void {
  if (adapterNames.length > 1)
    throw new Error(`loadLora: ${location} holds several adapters: ${list(adapterNames)}. Save one of them alone.`);
  const weights = unknown.filter((key) => /\.(?:weight|bias)$/.test(key));
  const hint =
    weights.length > 0 && weights.length === unknown.length
      ? ' They are weights of whole modules (modules_to_save or bias in peft): merge the adapter with peft instead.'
      : ' Remove them, or save the adapter alone.';
  if (unknown.length) throw new Error(`loadLora: ${location} has keys of no known adapter: ${list(unknown)}.${hint}`);
  if (repeated.length)
    throw new Error(`loadLora: ${location} has keys that mean the same as others: ${list(repeated)}. Remove them.`);
}

/** Makes an adapter of the tensors of each module. @throws one error with every module that is no complete adapter */
export async function readModules(
  modules: Modules,
  settingsOf: SettingsOf,
  location: string,
): Promise<Record<string, ModuleAdapter>> {
  const adapters = record<ModuleAdapter>();
  const problems: string[] = [];
  for (const [module, parts] of modules) {
    try {
      const alpha = parts.alpha && (await readAlpha(parts.alpha));
      adapters[module] = await kindOf(parts).read(parts, settingsOf(module, alpha));
    } catch (error) {
      problems.push(`${module} ${(error as Error).message}`);
    }
  }
  if (problems.length === 0) return adapters;
  throw new Error(`loadLora: ${location} has no complete adapter of every module: ${list(problems)}.`);
}

async function readAlpha(tensor: StoredTensor): Promise<number> {
  if (elementCount(tensor.shape) !== 1) throw new Error(`has alpha [${tensor.shape}], expected one number`);
  return (await tensor.read())[0]!;
}

/** Returns the kind that the tensors of a module are. @throws if there is none, or if they are of several */
function kindOf(parts: AdapterParts): AdapterKind {
  const names = Object.keys(parts) as AdapterPart[];
  const marked = adapterKinds.filter(({ marks }) => names.some((name) => marks.includes(name)));
  const kind = marked.find(({ marks, others }) => names.every((name) => [...marks, ...others].includes(name)));
  if (kind) return kind;
  throw new Error(
    marked.length > 1
      ? `has tensors of several kinds of adapter, ${list(marked.map(({ name }) => name))}: ${list(names)}`
      : `has ${list(names)} without the rest of an adapter`,
  );
}
