import type { Variable } from '@tensorflow/tfjs-core';
import { trainable, type Params, type TorchGenerator } from '@alignprop/autograd-ext';
import { record, table } from '@alignprop/autograd-ext/outside';
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
 * Adds a new adapter to the UNet unless it has a trainable one, likewise to the text encoders with
 * `train_text_encoder`, and replaces the scheduler by the one of the configuration with the same noise schedule: by
 * DDIM by default, as TRL does. With `use_lora` false the UNet stays as it is.
 * @throws if the trainable weights of the pipeline are not those that the configuration trains, or the model cannot be
 *   trained through the scheduler
 */
export function preparePipeline(
  pipeline: StableDiffusionPipeline,
  config: PreparationConfig,
  generator: TorchGenerator,
): PreparedPipeline {
  const scheduler = chainScheduler(pipeline, config);
  const { unet, ...texts } = pipeline.params;
  if (!config.use_lora) checkWholeUNet(unet);
  const adapted = record<Params>();
  if (config.use_lora) adapted.unet = adapt(unet, config, config.lora_target_modules, generator);
  for (const [name, params] of Object.entries(texts))
    if (config.train_text_encoder) adapted[name] = adapt(params, config, textTargets, generator);
    else checkFrozen(name, params);
  for (const [name, params] of Object.entries(adapted)) checkAdapter(name, params, config);
  const ready = pipeline.withParams(adapted).with({ scheduler });
  const given = new Set<Params>(Object.values(pipeline.params));
  const created = Object.entries(adapted).flatMap(([name, params]) =>
    given.has(params) ? [] : Object.entries(name === 'unet' ? trainable(params) : prefixed(name, trainable(params))),
  );
  return {
    pipeline: ready,
    weights: trainedWeights(ready, config.use_lora),
    created: Object.fromEntries(created),
  };
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

/** The part of a pipeline in messages. */
const described = (name: string): string => names[name] ?? name;
const names = table<string>({
  unet: 'the UNet',
  text_encoder: 'the text encoder',
  text_encoder_2: 'the second text encoder',
});

function checkAdapter(name: string, params: Params, { lora_kind: kind }: PreparationConfig): void {
  const model = described(name);
  checkKind(model, params, kind);
  const adapter = new Set(Object.values(loraTensors(params)));
  const others = Object.entries(trainable(params)).filter(([, value]) => !adapter.has(value));
  if (others.length === 0) return;
  throw new Error(
    `AlignPropTrainer: ${others.length} trainable weights of ${model} are no part of a LoRA adapter ` +
      `(${others[0]![0]}, …). Freeze them, or set use_lora to false to train the whole UNet.`,
  );
}

/** Checks that all adapters are of one kind, as in the files that a run writes. */
function checkKind(model: string, params: Params, kind: PreparationConfig['lora_kind']): void {
  for (const [module, { dora }] of Object.entries(loraModules(params))) {
    const found = dora ? 'dora' : 'lora';
    if (found !== kind)
      throw new Error(
        `AlignPropTrainer: lora_kind got '${kind}', but the adapter of ${module} in ${model} is of the kind ` +
          `'${found}'. Set lora_kind to '${found}', or remove that adapter.`,
      );
    if (dora?.axis === 'input')
      throw new Error(
        `AlignPropTrainer: the DoRA adapter of ${module} in ${model} has lengths of columns (LyCORIS), which ` +
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

function checkFrozen(name: string, params: Params): void {
  const [path] = Object.keys(trainable(params));
  if (path)
    throw new Error(
      `AlignPropTrainer: ${described(name)} has trainable weights (${path}, …), which nothing would train. ` +
        'Set train_text_encoder.',
    );
}
