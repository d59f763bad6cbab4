import type { Variable } from '@tensorflow/tfjs-core';
import { trainable, type Params, type TorchGenerator } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { addLora, loraModules, loraTensors } from '@alignprop/lora';
import type { AlignPropConfig } from '../config/config.js';
import { chainScheduler, type ChainConfig } from './chain-scheduler.js';
import { adapterConfig, textTargets } from './adapter-config.js';
import { prefixed, trainedWeights, type TrainedWeights } from './trained-weights.js';

/** A pipeline that is ready for training, and its trainable weights. */
export interface PreparedPipeline {
  readonly pipeline: StableDiffusionPipeline;
  readonly weights: TrainedWeights;
  /** The variables that were created for it, by parameter path; those of the given pipeline are not among them. */
  readonly created: Readonly<Record<string, Variable>>;
}

type PreparationConfig = ChainConfig &
  Pick<
    AlignPropConfig,
    'use_lora' | 'train_text_encoder' | 'lora_kind' | 'lora_rank' | 'lora_alpha' | 'lora_target_modules' | 'lora_init'
  >;

/**
 * Adds a new adapter to the UNet unless it has a trainable one, likewise to the text encoder with `train_text_encoder`,
 * and replaces the scheduler by the one of the configuration with the same noise schedule: by DDIM by default, as TRL
 * does. With `use_lora` false the UNet stays as it is.
 * @throws if the trainable weights of the pipeline are not those that the configuration trains, or the model cannot be
 *   trained through the scheduler
 */
export function preparePipeline(
  pipeline: StableDiffusionPipeline,
  config: PreparationConfig,
  generator: TorchGenerator,
): PreparedPipeline {
  const { unet, textEncoder } = pipeline;
  const scheduler = chainScheduler(pipeline, config);
  checkTextEncoder(pipeline, config);
  if (!config.use_lora) checkWholeUNet(unet.params);
  const adapted = config.use_lora ? adapt(unet.params, config, config.lora_target_modules, generator) : unet.params;
  const text = config.train_text_encoder
    ? adapt(textEncoder.params, config, textTargets, generator)
    : textEncoder.params;
  if (config.use_lora) checkAdapter('UNet', adapted, config);
  if (config.train_text_encoder) checkAdapter('text encoder', text, config);
  else checkFrozen(text);
  const ready = pipeline.with({
    unet: unet.withParams(adapted),
    textEncoder: textEncoder.withParams(text),
    scheduler,
  });
  const created = {
    ...(adapted !== unet.params && trainable(adapted)),
    ...(text !== textEncoder.params && prefixed(trainable(text))),
  };
  return { pipeline: ready, weights: trainedWeights(ready, config.use_lora), created };
}

function checkTextEncoder({ isXL }: StableDiffusionPipeline, config: PreparationConfig): void {
  if (isXL && config.train_text_encoder)
    throw new Error(
      'AlignPropTrainer: train_text_encoder got true for SDXL, expected false: the text encoders of SDXL cannot be ' +
        'trained. Train the UNet alone.',
    );
}

function adapt(
  params: Params,
  config: PreparationConfig,
  targetModules: readonly string[],
  generator: TorchGenerator,
): Params {
  if (Object.keys(trainable(params)).length > 0) return params;
  if (config.lora_kind === 'lora') return addLora(params, adapterConfig(config, targetModules), generator);
  throw new Error(
    "AlignPropTrainer: lora_kind is 'dora', but the pipeline has no DoRA adapter, which starts from the weights. " +
      'Pass `await trainableDora(pipeline, config)` as the pipeline.',
  );
}

function checkAdapter(model: string, params: Params, { lora_kind: kind }: PreparationConfig): void {
  checkKind(model, params, kind);
  const adapter = new Set(Object.values(loraTensors(params)));
  const others = Object.entries(trainable(params)).filter(([, value]) => !adapter.has(value));
  if (others.length === 0) return;
  throw new Error(
    `AlignPropTrainer: ${others.length} trainable weights of the ${model} are no part of a LoRA adapter ` +
      `(${others[0]![0]}, …). Freeze them, or set use_lora to false to train the whole UNet.`,
  );
}

/** Checks that all adapters are of one kind, as in the files that a run writes. */
function checkKind(model: string, params: Params, kind: PreparationConfig['lora_kind']): void {
  for (const [module, { dora }] of Object.entries(loraModules(params))) {
    const found = dora ? 'dora' : 'lora';
    if (found !== kind)
      throw new Error(
        `AlignPropTrainer: lora_kind got '${kind}', but the adapter of ${module} in the ${model} is of the kind ` +
          `'${found}'. Set lora_kind to '${found}', or remove that adapter.`,
      );
    if (dora?.axis === 'input')
      throw new Error(
        `AlignPropTrainer: the DoRA adapter of ${module} in the ${model} has lengths of columns (LyCORIS), which ` +
          'the files of a run cannot hold. Train one with lengths of rows.',
      );
  }
}

function checkWholeUNet(params: Params): void {
  if (Object.keys(loraTensors(params)).length > 0)
    throw new Error(
      'AlignPropTrainer: use_lora is false, but the UNet has an adapter. Fuse or remove it first, or set use_lora.',
    );
  if (Object.keys(trainable(params)).length > 0) return;
  throw new Error(
    'AlignPropTrainer: use_lora is false, but no weight of the UNet is trainable. ' +
      'Pass `await trainableUNet(pipeline)` as the pipeline.',
  );
}

function checkFrozen(params: Params): void {
  const [path] = Object.keys(trainable(params));
  if (path)
    throw new Error(
      `AlignPropTrainer: the text encoder has trainable weights (${path}, …), which nothing would train. ` +
        'Set train_text_encoder.',
    );
}
