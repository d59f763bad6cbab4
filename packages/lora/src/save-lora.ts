import { flatten, type Params } from '@alignprop/autograd-ext';
import { saveSafetensors, writeFileAtomic } from '@alignprop/autograd-ext/weights';
import { loraModules } from './adapters.js';
import type { LoraLinear } from './lora-linear.js';
import { lastName, matches, moduleOf } from './modules.js';
import { peftJson, type PeftConfig } from './peft-config.js';
import { fileEndings, fileModule, loraFormats, type LoraFormat } from './spellings.js';

interface StoredValues {
  readonly dtype: 'F32';
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/**
 * Writes the adapters of a tree, whole or not at all. Each file computes what the tree computes, scale included.
 * - `diffusers-old`, the default: what TRL's AlignPropTrainer writes and every program reads. It has no place for α,
 *   and readers take α = r; where an adapter's scale is not 1, B is stored multiplied by it. The images are the same,
 *   the factors are not: to go on training exactly with α ≠ r, save another format.
 * - `diffusers`: newer keys, with r, α and targets in the header.
 * - `peft`: a folder of adapter_config.json and adapter_model.safetensors.
 * - `kohya`: for A1111 and ComfyUI, with one α a module.
 * @param path a file that ends in .safetensors; for `peft` a folder
 * @param options.prefix the part of the pipeline that the tree is: `unet` or `text_encoder`; peft's files do not name
 *   it
 * @param options.others trees of other parts by their prefix, whose adapters go into the same file
 * @throws if a tree has no adapter, the path does not suit the format, or there are others and the format is peft's
 */
export async function saveLora(
  path: string,
  params: Params,
  {
    format = 'diffusers-old',
    prefix = 'unet',
    others = {},
  }: { format?: LoraFormat; prefix?: string; others?: Readonly<Record<string, Params>> } = {},
): Promise<void> {
  check(path, format);
  if (format === 'peft' && Object.keys(others).length > 0)
    throw new Error(
      "saveLora: format got 'peft' for several parts of a pipeline, expected one of the others. Save each part to a folder of its own.",
    );
  const parts = Object.entries({ [prefix]: params, ...others }).map(([part, tree]) => readPart(part, tree));
  const first = Object.values(parts[0]!.adapters)[0]!;
  const tensors: Record<string, StoredValues> = {};
  for (const part of parts) Object.assign(tensors, await partTensors(part, format));
  const sorted = Object.fromEntries(Object.entries(tensors).sort(([a], [b]) => (a < b ? -1 : 1)));
  if (format === 'kohya') return saveSafetensors(path, sorted, kohyaMetadata(first));
  if (format === 'diffusers-old') return saveSafetensors(path, sorted, { format: 'pt' });
  if (format === 'diffusers')
    return saveSafetensors(path, sorted, { format: 'pt', lora_adapter_metadata: diffusersMetadata(parts) });
  await saveSafetensors(`${path}/adapter_model.safetensors`, sorted, { format: 'pt' });
  await writeFileAtomic(
    `${path}/adapter_config.json`,
    new TextEncoder().encode(peftJson(peftConfig(parts[0]!), { inferenceMode: true })),
  );
}

/** The adapters of one part of a pipeline. */
interface Part {
  readonly prefix: string;
  readonly params: Params;
  readonly adapters: Readonly<Record<string, LoraLinear>>;
}

function readPart(prefix: string, params: Params): Part {
  const adapters = loraModules(params);
  if (Object.keys(adapters).length > 0) return { prefix, params, adapters };
  throw new Error(
    `saveLora: the tree has no adapter, that of ${prefix}. Call addLora or applyLora first, and unfuseLora where it is fused.`,
  );
}

async function partTensors({ prefix, adapters }: Part, format: LoraFormat): Promise<Record<string, StoredValues>> {
  const tensors: Record<string, StoredValues> = {};
  for (const [module, adapter] of Object.entries(adapters))
    Object.assign(tensors, await moduleTensors(fileModule[format](module, prefix), adapter, format));
  return tensors;
}

/** Every part's configuration in one JSON object. */
const diffusersMetadata = (parts: readonly Part[]): string =>
  parts.length === 1
    ? peftJson(peftConfig(parts[0]!), parts[0]!)
    : JSON.stringify(
        Object.assign({}, ...parts.map((part) => JSON.parse(peftJson(peftConfig(part), part)) as object)),
        null,
        2,
      );

function check(path: string, format: LoraFormat): void {
  if (!loraFormats.includes(format))
    throw new Error(`saveLora: format got '${format}', expected one of ${loraFormats.join(', ')}.`);
  const isFile = path.endsWith('.safetensors');
  if (isFile === (format === 'peft'))
    throw new Error(
      `saveLora: path got '${path}', expected ${isFile ? 'a folder for the peft format' : 'a file that ends in .safetensors'}.`,
    );
}

async function moduleTensors(
  name: string,
  adapter: LoraLinear,
  format: LoraFormat,
): Promise<Record<string, StoredValues>> {
  const { loraA, loraB, scale, r } = adapter;
  const [a, b] = await Promise.all([loraA.data<'float32'>(), loraB.data<'float32'>()]);
  const [endA, endB] = fileEndings[format];
  const factor = format === 'diffusers-old' ? scale : 1;
  return {
    [`${name}.${endA}`]: { dtype: 'F32', shape: loraA.shape, data: a },
    [`${name}.${endB}`]: {
      dtype: 'F32',
      shape: loraB.shape,
      data: factor === 1 ? b : b.map((value) => value * factor),
    },
    ...(format === 'kohya' && {
      [`${name}.alpha`]: { dtype: 'F32', shape: [], data: Float32Array.of(scale * r) },
    }),
  };
}

const kohyaMetadata = (first: LoraLinear) => ({
  ss_network_dim: `${first.r}`,
  ss_network_alpha: `${alphaOf(first)}`,
  ss_network_module: 'networks.lora',
});

/** α = scale·r, without the last bits that the division by r left. */
const alphaOf = ({ scale, r }: LoraLinear) => Number((scale * r).toPrecision(12));

function peftConfig({ params, adapters }: Part): PeftConfig {
  const entries = Object.entries(adapters);
  const [r, alpha] = [entries[0]![1].r, alphaOf(entries[0]![1])];
  const others = (value: (adapter: LoraLinear) => number, usual: number) =>
    Object.fromEntries(
      entries.map(([module, adapter]) => [module, value(adapter)] as const).filter(([, own]) => own !== usual),
    );
  return {
    r,
    lora_alpha: alpha,
    target_modules: targetModules(params, Object.keys(adapters)),
    rank_pattern: others((adapter) => adapter.r, r),
    alpha_pattern: others(alphaOf, alpha),
  };
}

/** Last names such as `to_q`; whole paths where a last name would also mean modules that are not adapted. */
function targetModules(params: Params, adapted: readonly string[]): string[] {
  const known = new Set(adapted);
  const bare = Object.keys(flatten(params))
    .map(moduleOf)
    .filter((module) => !known.has(module));
  const isExact = (name: string) => !bare.some((module) => matches(module, name));
  return [...new Set(adapted.map((module) => (isExact(lastName(module)) ? lastName(module) : module)))];
}
