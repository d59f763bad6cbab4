import type { StoredTensor } from '@alignprop/autograd-ext';
import { directory, openSafetensors, readJson, resolveSource, type FileSource } from '@alignprop/autograd-ext/weights';
import type { LoraKey, LoraPart } from './layouts/lora-key.js';
import { readKey } from './layouts/lora-layouts.js';
import { peftAlpha } from './layouts/peft-config.js';
import { peftFiles } from './layouts/peft.js';
import type { LoraState, LowRankAdapter } from './lora-state.js';
import { list } from './modules.js';

type Fields = Readonly<Record<string, unknown>>;

/** Names of LoRA files, in the order of preference. The only .safetensors file of a folder may have any name. */
const fileNames = ['pytorch_lora_weights.safetensors', peftFiles.weights] as const;

/**
 * Opens a LoRA file in any of `loraLayouts`: TRL's and diffusers' older keys (`….lora.down.weight`), diffusers' and
 * peft's newer ones (`….lora_A.weight`, with metadata or an adapter_config.json), kohya's
 * (`lora_unet_….lora_down.weight`, `.alpha`) and the attention processors of 2023
 * (`….processor.to_q_lora.down.weight`). `applyLora` reads the values. α is the module's own tensor, else that of the
 * configuration, else the rank, as in every other reader.
 * @param source a .safetensors file, a folder, a hub id, or a `FileSource`
 * @param options.file the name of the file within a folder or source
 * @param options.prefix the part of the pipeline to read; keys that name no part count as this one
 * @throws if there is no such file, if it has nothing for `prefix`, or one error with all keys of no known layout
 */
export async function loadLora(
  source: string | FileSource,
  { file, prefix = 'unet' }: { file?: string; prefix?: string } = {},
): Promise<LoraState> {
  const loraFile = await findFile(source, file);
  const location = `${loraFile.source.location}/${loraFile.file}`;
  const { tensors, metadata } = await openSafetensors(loraFile.source, loraFile.file);
  const components = readComponents(tensors, prefix, location);
  const modules = components.get(prefix)!;
  const config = (await readAdapterConfig(loraFile)) ?? readMetadata(metadata, prefix, location);
  const alphas = await readAlphas(modules, peftAlpha(config, location));
  return { ...toState(modules, alphas), components: [...components.keys()] };
}

interface LoraFile {
  readonly source: FileSource;
  readonly file: string;
}

async function findFile(source: string | FileSource, file?: string): Promise<LoraFile> {
  if (typeof source === 'string' && source.endsWith('.safetensors')) {
    const [, folder = '.', name = source] = /^(.*)[\\/]([^\\/]+)$/.exec(source) ?? [];
    return { source: directory(folder || '/'), file: name };
  }
  const folder = await resolveSource(source);
  const weights = (await folder.list()).filter((name) => name.endsWith('.safetensors'));
  const name =
    file ?? fileNames.find((name) => weights.includes(name)) ?? (weights.length === 1 ? weights[0] : undefined);
  if (name) return { source: folder, file: name };
  throw new Error(
    `loadLora: no LoRA file in ${folder.location}, which has ${list(weights) || 'no .safetensors file'}, ` +
      `expected ${fileNames.join(' or ')}. Name it with the option 'file'.`,
  );
}

type Modules = Map<string, Partial<Record<LoraPart, StoredTensor>>>;

/** Sorts the tensors of a file by component, module and part. */
function readComponents(
  tensors: ReadonlyMap<string, StoredTensor>,
  prefix: string,
  location: string,
): Map<string, Modules> {
  const components = new Map<string, Modules>();
  const unknown: string[] = [];
  for (const [key, tensor] of tensors) {
    const meaning = readKey(key);
    if (!meaning) unknown.push(key);
    else addPart(components, meaning.component ?? prefix, meaning, tensor);
  }
  if (unknown.length) throw new Error(`loadLora: ${location} has keys of no known LoRA layout: ${list(unknown)}.`);
  if (!components.has(prefix))
    throw new Error(
      `loadLora: ${location} has nothing for '${prefix}', only for ${[...components.keys()].join(', ') || 'nothing'}.`,
    );
  return components;
}

function addPart(
  components: Map<string, Modules>,
  component: string,
  { module, part }: LoraKey,
  tensor: StoredTensor,
): void {
  const modules = components.get(component) ?? (new Map() as Modules);
  components.set(component, modules.set(module, { ...modules.get(module), [part]: tensor }));
}

/** Reads the configuration beside peft's weights, if there is one. */
async function readAdapterConfig({ source, file }: LoraFile): Promise<Fields | undefined> {
  const [, folder = '', basename] = /^(.*\/)?([^/]*)$/.exec(file) ?? [];
  const name = `${folder}${peftFiles.config}`;
  if (basename !== peftFiles.weights || !(await source.has(name))) return undefined;
  return (await readJson(source, name)) as Fields;
}

/** Reads the configuration that diffusers keeps in the header; every field is named after its component. */
function readMetadata(metadata: Readonly<Record<string, string>>, prefix: string, location: string): Fields {
  const text = metadata.lora_adapter_metadata;
  if (text === undefined) return {};
  try {
    const fields = Object.entries(JSON.parse(text) as Fields).filter(([key]) => key.startsWith(`${prefix}.`));
    return Object.fromEntries(fields.map(([key, value]) => [key.slice(prefix.length + 1), value]));
  } catch (cause) {
    throw new Error(
      `loadLora: lora_adapter_metadata in the header of ${location} is not JSON. Remove it from the file.`,
      { cause },
    );
  }
}

/** Reads α of every module: its own tensor takes precedence over the configuration, as in diffusers. */
async function readAlphas(
  modules: Modules,
  alphaOf: (module: string, r: number) => number,
): Promise<Record<string, number>> {
  const alphas: Record<string, number> = {};
  for (const [module, { alpha, lora_A: a }] of modules)
    alphas[module] = alpha ? (await alpha.read())[0]! : alphaOf(module, a?.shape[0] ?? 1);
  return alphas;
}

function toState(modules: Modules, alphas: Readonly<Record<string, number>>): Pick<LoraState, 'modules'> {
  const adapters = [...modules].map(
    ([module, { lora_A: a, lora_B: b, magnitude: vector }]): [string, LowRankAdapter] => {
      const factors = { ...(a && { a }), ...(b && { b }), alpha: alphas[module]! };
      if (!vector) return [module, { kind: 'lora', ...factors }];
      return [module, { kind: 'dora', ...factors, magnitude: { vector, axis: 'output' } }];
    },
  );
  return { modules: Object.fromEntries(adapters) };
}
