import { checkOptions, createEngine, ensureBackend, optionNames, type Engine } from '@alignprop/autograd-ext';
import {
  findWeightFile,
  hubOptionNames,
  loadParams,
  openCheckpointFile,
  readJson,
  resolveSource,
  type FileSource,
  type HubOptions,
} from '@alignprop/autograd-ext/weights';
import { CLIPTextModel, CLIPTextModelWithProjection } from '../clip/text-model.js';
import { CLIPTokenizer } from '../clip/tokenizer.js';
import { AutoencoderKL } from '../models/autoencoder-kl.js';
import type { ConfigInput } from '../models/model-config.js';
import type { PretrainedModelClass } from '../models/pretrained-model.js';
import { checkChannels } from '../models/unet-channels.js';
import { UNet2DConditionModel } from '../models/unet-2d-condition.js';
import { folderScheduler } from '../schedulers/create-scheduler.js';
import type { Scheduler } from '../schedulers/scheduler.js';
import { checkpointKind, type CheckpointKind, type Weights } from './checkpoint-kind.js';
import { schedulerConfig, type SchedulerHints } from './scheduler-layout.js';
import { standardTokenizer } from './standard-tokenizer.js';
import { textLayouts, type TextLayout } from './text-layout.js';
import { unetConfig, unetWeights } from './unet-layout.js';
import { vaeConfig, vaeWeights } from './vae-layout.js';

/** Options of `StableDiffusionPipeline.fromSingleFile`; those of the hub are used for a hub id. */
export interface FromSingleFileOptions extends HubOptions {
  /** A diffusers folder or hub id whose configs, tokenizers and scheduler replace those of the published models. */
  config?: string | FileSource;
  /** The UNet's prediction, `epsilon` or `v_prediction`, where the file does not tell and the default is wrong. */
  predictionType?: 'epsilon' | 'v_prediction';
  /** The fastest installed engine by default; see `createEngine`. */
  engine?: Engine;
  /** Replaces the scheduler of the kind of model. */
  scheduler?: Scheduler;
  /** Called with what the file leaves open. */
  onWarning?: (message: string) => void;
}

/** The models of a checkpoint. */
interface Models {
  unet: UNet2DConditionModel;
  vae: AutoencoderKL;
  textEncoder: CLIPTextModel;
  /** SDXL's second text encoder. */
  textEncoder2?: CLIPTextModelWithProjection;
}

interface Tokenizers {
  tokenizer: CLIPTokenizer;
  /** SDXL's second tokenizer. */
  tokenizer2?: CLIPTokenizer;
}

/** The parts of a pipeline. */
interface SingleFileParts extends Models, Tokenizers {
  scheduler: Scheduler;
  engine: Engine;
}

const optionsOfFiles = [
  ...optionNames<Omit<FromSingleFileOptions, keyof HubOptions>>({
    config: true,
    predictionType: true,
    engine: true,
    scheduler: true,
  }),
  ...hubOptionNames,
];

const owner = 'StableDiffusionPipeline.fromSingleFile';

/** Opens a checkpoint in a single file; see `StableDiffusionPipeline.fromSingleFile`. */
export async function openSingleFile(
  location: string | FileSource,
  { config, predictionType, engine, scheduler, ...hubOptions }: FromSingleFileOptions,
): Promise<SingleFileParts> {
  checkOptions(owner, hubOptions, optionsOfFiles);
  await ensureBackend();
  const { source, file } = await findWeightFile(location, { owner, names: [], ...hubOptions });
  const path = `${source.location}/${file}`;
  const { tensors: weights, metadata } = await openCheckpointFile(source, file);
  const kind = checkpointKind(weights, path);
  const configs = config === undefined ? undefined : await resolveSource(config, hubOptions);
  const opened = openModels(weights, kind, path, await configReader(configs));
  const hints = { predictionType, globalStep: metadata.get('global_step'), file, ...warningsOf(hubOptions) };
  return {
    ...opened,
    ...(await tokenizersFor(kind, configs)),
    scheduler: scheduler ?? folderScheduler(await readScheduler(configs, weights, kind, hints)),
    engine: engine ?? (await createEngine(warningsOf(hubOptions))),
  };
}

/** Reads what the kind of a checkpoint is known by: names and shapes of its weights, no values. */
export async function readSingleFileConfigs(
  location: string | FileSource,
  { config, predictionType, ...hubOptions }: Omit<FromSingleFileOptions, 'engine' | 'scheduler'>,
) {
  const { source, file } = await findWeightFile(location, { owner, names: [], ...hubOptions });
  const { tensors: weights, metadata } = await openCheckpointFile(source, file);
  const kind = checkpointKind(weights, `${source.location}/${file}`);
  const configs = config === undefined ? undefined : await resolveSource(config, hubOptions);
  const hints = { predictionType, globalStep: metadata.get('global_step'), file };
  return {
    isXL: kind === 'SDXL',
    unet: { config: (await configReader(configs))('unet') ?? {} },
    scheduler: { config: await readScheduler(configs, weights, kind, hints) },
  };
}

const warningsOf = ({ onWarning }: HubOptions) => (onWarning ? { onWarning } : {});

/** Reads the config of a part in a folder of configs. */
type ConfigReader = (part: string) => ConfigInput | undefined;

async function configReader(configs: FileSource | undefined): Promise<ConfigReader> {
  if (!configs) return () => undefined;
  const parts = ['unet', 'vae', 'text_encoder', 'text_encoder_2'];
  const read = new Map<string, ConfigInput>();
  for (const part of parts)
    if (await configs.has(`${part}/config.json`))
      read.set(part, (await readJson(configs, `${part}/config.json`)) as ConfigInput);
  return (part) => read.get(part);
}

/** Returns the config of the scheduler: that of a folder of configs, or else what the checkpoint tells. */
async function readScheduler(
  configs: FileSource | undefined,
  weights: Weights,
  kind: CheckpointKind,
  hints: SchedulerHints,
): Promise<ConfigInput> {
  if (!configs) return schedulerConfig(weights, kind, hints);
  const { predictionType } = hints;
  const config = (await readJson(configs, 'scheduler/scheduler_config.json')) as ConfigInput;
  return predictionType === undefined ? config : { ...config, prediction_type: predictionType };
}

function openModels(weights: Weights, kind: CheckpointKind, location: string, configOf: ConfigReader): Models {
  const [text, text2] = textLayouts(weights, kind);
  const [unet, vae] = [unetWeights(weights), vaeWeights(weights)];
  const channelsOf = (own: Weights, key: string) => own.get(key)?.shape[1];
  const [channels, latents] = [channelsOf(unet, 'conv_in.weight'), channelsOf(vae, 'decoder.conv_in.weight')];
  if (channels !== undefined && latents !== undefined) checkChannels(`${owner}: '${location}'`, channels, latents);
  const pooledWidth = text2?.config.projection_dim as number | undefined;
  const open = <C>(name: string, model: PretrainedModelClass<C>, config: ConfigInput, own: Weights) =>
    new model(config, loadParams(model.spec(config), own, { owner: name, location }));
  const openText = <C>(name: string, model: PretrainedModelClass<C>, part: string, layout: TextLayout) =>
    open(name, model, configOf(part) ?? layout.config, layout.weights);
  return {
    unet: open(
      'UNet2DConditionModel',
      UNet2DConditionModel,
      configOf('unet') ?? unetConfig(unet, kind, pooledWidth),
      unet,
    ),
    vae: open('AutoencoderKL', AutoencoderKL, configOf('vae') ?? vaeConfig(vae, kind), vae),
    textEncoder: openText('CLIPTextModel', CLIPTextModel, 'text_encoder', text),
    ...(text2 && {
      textEncoder2: openText('CLIPTextModelWithProjection', CLIPTextModelWithProjection, 'text_encoder_2', text2),
    }),
  };
}

async function tokenizersFor(kind: CheckpointKind, configs: FileSource | undefined): Promise<Tokenizers> {
  const read = async (subfolder: string, padToken: '<|endoftext|>' | '!') =>
    configs && (await configs.list(subfolder)).length > 0
      ? CLIPTokenizer.fromPretrained(configs, { subfolder })
      : standardTokenizer(padToken);
  return {
    tokenizer: await read('tokenizer', kind === 'Stable Diffusion 2.x' ? '!' : '<|endoftext|>'),
    ...(kind === 'SDXL' && { tokenizer2: await read('tokenizer_2', '!') }),
  };
}
