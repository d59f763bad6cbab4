import type { StoredTensor } from '@alignprop/autograd-ext';
import {
  openWeightFile,
  openWeights,
  readJson,
  type FileSource,
  type ParamsSpec,
} from '@alignprop/autograd-ext/weights';
import type { ConfigInput } from '../models/model-config.js';
import {
  definePretrainedModel,
  type LoadModelOptions,
  type OpenedModel,
  type PretrainedModelClass,
} from '../models/pretrained-model.js';
import {
  clipArchitecture,
  isOpenClip,
  openClipConfig,
  withTransformersNames,
  type ClipArchitecture,
} from './open-clip.js';

/** Options of `fromPretrained` of the CLIP classes. */
export interface LoadClipOptions extends LoadModelOptions {
  /** The file of the weights, if it has an unusual name. */
  readonly file?: string;
  /** The architecture of an open_clip model in a folder without a config. */
  readonly architecture?: ClipArchitecture;
}

// The modules of a CLIPModel.
const modules = ['text_model', 'text_projection', 'vision_model', 'visual_projection', 'logit_scale'];
// Constants that old versions store: position ids, the causal mask, and numbers of the config.
const constants = [/(^|\.)position_ids$/, /^(attn_mask|input_resolution|context_length|vocab_size)$/];
const openClipFiles = ['open_clip_model.safetensors', 'open_clip_pytorch_model.bin'];

/**
 * Creates the class of a whole CLIP model or of one half, which does not load the other half's weights. Its
 * `fromPretrained` reads transformers' files and open_clip's.
 * @param modelModules the modules that the class has
 */
export function defineClipModel<C>(
  name: string,
  config: (input: ConfigInput) => C,
  spec: (config: C) => ParamsSpec,
  modelModules: readonly string[],
): PretrainedModelClass<C, LoadClipOptions> {
  const otherModules = modules.filter((module) => !modelModules.includes(module));
  const ignored = [...constants, ...otherModules.map((module) => new RegExp(`^${module}(\\.|$)`))];
  return definePretrainedModel({
    name,
    config,
    spec,
    open: openFiles,
    optionNames: ['file', 'architecture'],
    ignored,
  });
}

async function openFiles(folder: FileSource, { file, variant, architecture }: LoadClipOptions): Promise<OpenedModel> {
  const weights = await openTensors(folder, file, variant);
  if (!isOpenClip(weights))
    return { config: (await readJson(folder, 'config.json')) as ConfigInput, weights: withPrefix(weights) };
  return { config: await readOpenClipConfig(folder, architecture), weights: withTransformersNames(weights) };
}

async function openTensors(
  folder: FileSource,
  file: string | undefined,
  variant: string | undefined,
): Promise<Map<string, StoredTensor>> {
  if (file !== undefined) return openWeightFile(folder, file);
  if (await folder.has('config.json')) return openWeights(folder, 'model', { variant });
  for (const name of openClipFiles) if (await folder.has(name)) return openWeightFile(folder, name);
  return openWeights(folder, 'model', { variant });
}

async function readOpenClipConfig(
  folder: FileSource,
  architecture: ClipArchitecture | undefined,
): Promise<ConfigInput> {
  if (await folder.has('open_clip_config.json')) {
    const { model_cfg = {} } = await readJson<{ model_cfg?: ConfigInput }>(folder, 'open_clip_config.json');
    return openClipConfig(model_cfg);
  }
  if (architecture) return clipArchitecture(architecture);
  throw new Error(
    `CLIPModel: '${folder.location}' has no open_clip_config.json. Add it, or pass architecture, such as 'ViT-H-14'.`,
  );
}

/** Adds the prefix `text_model.` to the weights of a text encoder saved by transformers 5, which omits it. */
function withPrefix(weights: ReadonlyMap<string, StoredTensor>): ReadonlyMap<string, StoredTensor> {
  const hasNoPrefix = [...weights.keys()].every((path) => !modules.some((module) => path.startsWith(module)));
  return new Map([...weights].map(([path, tensor]) => [hasNoPrefix ? `text_model.${path}` : path, tensor]));
}
