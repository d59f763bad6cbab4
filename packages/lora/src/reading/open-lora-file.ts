import { type StoredTensor } from '@alignprop/autograd-ext';
import {
  findWeightFile,
  isSafetensors,
  openSafetensors,
  openWeightFile,
  readJson,
  type FileSource,
  type HubOptions,
} from '@alignprop/autograd-ext/weights';
import { parseJson } from '@alignprop/autograd-ext/outside';
import type { Fields } from './adapter-settings.js';

/** The contents of an adapter's file, and its configuration. */
export interface OpenedLora {
  readonly location: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Returns the configuration of a part of the pipeline; empty if there is none. */
  configOf(component: string): Fields;
}

/** Names of adapters' files, in the order of preference. */
const names = [
  'pytorch_lora_weights.safetensors',
  'adapter_model.safetensors',
  'pytorch_lora_weights.bin',
  'adapter_model.bin',
] as const;

/** A file and the folder or repository that holds it. */
interface LoraFile {
  readonly source: FileSource;
  readonly file: string;
}

/**
 * Opens a file of an adapter. Its configuration is peft's adapter_config.json beside it, or the one that diffusers
 * keeps in the header of the file.
 * @param options.file the path of the file within a folder or source; the others are for the hub
 * @throws if the file is missing or damaged, there are several, or a configuration is not JSON
 */
export async function openLoraFile(
  location: string | FileSource,
  options: HubOptions & { readonly file?: string },
): Promise<OpenedLora> {
  return open(await findWeightFile(location, { ...options, owner: 'loadLora', names }));
}

async function open({ source, file }: LoraFile): Promise<OpenedLora> {
  const location = `${source.location}/${file}`;
  const { tensors, metadata } = isSafetensors(file)
    ? await openSafetensors(source, file)
    : { tensors: await openWeightFile(source, file), metadata: {} };
  const header = parseHeader((metadata as { lora_adapter_metadata?: string }).lora_adapter_metadata, location);
  const config = isOfPeft(file, tensors) ? await readAdapterConfig(source, file) : undefined;
  return { location, tensors, configOf: (component) => config ?? fieldsOf(header, component) };
}

/** Whether peft wrote a file, by its name or its keys. */
const isOfPeft = (file: string, tensors: OpenedLora['tensors']): boolean =>
  /(?:^|\/)adapter_model\./.test(file) || [...tensors.keys()].some((key) => key.startsWith('base_model.model.'));

/** Reads the configuration beside peft's weights, if there is one. */
async function readAdapterConfig(source: FileSource, file: string): Promise<Fields | undefined> {
  const path = file.replace(/[^/]*$/, 'adapter_config.json');
  return (await source.has(path)) ? readJson<Fields>(source, path) : undefined;
}

function parseHeader(text: string | undefined, location: string): Fields {
  try {
    return text === undefined ? {} : ((parseJson(text) as Fields | null) ?? {});
  } catch (cause) {
    throw new Error(
      `loadLora: lora_adapter_metadata in the header of ${location} is not JSON. Remove it from the file.`,
      { cause },
    );
  }
}

/**
 * Returns the fields of a component without its name before them: `unet.lora_alpha`. A model's own `save_lora_adapter`
 * writes the fields without a name, and for one component only.
 */
function fieldsOf(header: Fields, component: string): Fields {
  if ('lora_alpha' in header || 'r' in header) return header;
  const start = `${component}.`;
  const fields = Object.entries(header).filter(([name]) => name.startsWith(start));
  return Object.fromEntries(fields.map(([name, value]) => [name.slice(start.length), value]));
}
