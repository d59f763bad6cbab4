import { checkOptions } from '@alignprop/autograd-ext';
import { hubOptionNames, type FileSource, type HubOptions } from '@alignprop/autograd-ext/weights';
import { record } from '@alignprop/autograd-ext/outside';
import type { LoraState } from './lora-state.js';
import { list } from './modules.js';
import { readSettings, type Fields, type SettingsOf } from './reading/adapter-settings.js';
import { splitEmbeddings, type BundledEmbedding } from './reading/bundled-embeddings.js';
import { checkFinite } from './reading/check-finite.js';
import { openLoraFile } from './reading/open-lora-file.js';
import { readModules, sortTensors } from './reading/read-modules.js';

/** The options of `loadLora` and `openLora`; those of the hub are for sources on it. */
export interface LoadLoraOptions extends HubOptions {
  /** The path of the file within a folder or source. */
  readonly file?: string;
  /** The part of the pipeline that is read; keys and modules that name no part count as this one. `unet` by default. */
  readonly prefix?: string;
}

/** Everything that the file of an adapter holds. */
export interface OpenedAdapter {
  /** The file in messages. */
  readonly location: string;
  /** The adapter of each part of a pipeline: `unet`, `text_encoder`, … */
  readonly components: Readonly<Record<string, LoraState>>;
  /** Embeddings of new tokens that the file brings along, by token. */
  readonly embeddings: Readonly<Record<string, BundledEmbedding>>;
}

/**
 * Opens the file of an adapter: LoRA, DoRA, LoCon, LoHa, LoKr, (IA)³ or full differences (`adapterKinds`), with the
 * keys of diffusers, TRL, peft, kohya, LyCORIS, A1111 or ComfyUI. Reads every value once, to check it; `applyLora`
 * reads them again. α is the module's own tensor, else that of the configuration, else the rank, as in other readers.
 * @param source a file of safetensors or torch, a folder, a hub id, `org/name/path`, or a `FileSource`
 * @throws if there is no such file or several, a configuration asks for what is not applied, a value is not finite, or
 *   keys are of no known kind; each error names the file and what is wrong
 */
export async function openLora(
  source: string | FileSource,
  { prefix = 'unet', ...options }: LoadLoraOptions = {},
): Promise<OpenedAdapter> {
  checkOptions('openLora', options, ['prefix', 'file', ...hubOptionNames]);
  const opened = await openLoraFile(source, options);
  const { location, configOf } = opened;
  const { tensors, embeddings } = splitEmbeddings(opened.tensors);
  const sorted = sortTensors(tensors, prefix, location);
  await checkFinite(opened.tensors, location);
  const names = [...sorted.keys()];
  const components = record<LoraState>();
  for (const [component, modules] of sorted) {
    const settingsOf = readSettingsOf(configOf(component), location);
    components[component] = { location, modules: await readModules(modules, settingsOf, location), components: names };
  }
  return { location, components, embeddings };
}

function readSettingsOf(fields: Fields, location: string): SettingsOf {
  try {
    return readSettings(fields);
  } catch (cause) {
    throw new Error(`loadLora: ${location}: ${(cause as Error).message}`, { cause });
  }
}

/**
 * Opens one part of the file of an adapter, see `openLora`.
 * @throws as `openLora`, and if the file has nothing for `prefix`
 */
export async function loadLora(source: string | FileSource, options: LoadLoraOptions = {}): Promise<LoraState> {
  const { prefix = 'unet' } = options;
  const { location, components } = await openLora(source, options);
  const state = components[prefix];
  if (state) return state;
  const others = list(Object.keys(components)) || 'nothing';
  throw new Error(
    `loadLora: ${location} has nothing for '${prefix}', only for ${others}. Use an adapter made for this model.`,
  );
}
