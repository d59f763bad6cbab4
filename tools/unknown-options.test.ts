import { beforeAll, describe, expect, it } from 'vitest';
import { checkOptions, createEngine, OnnxRuntimeEngine, TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import {
  AutoencoderKL,
  CLIPTokenizer,
  imageGrid,
  StableDiffusionPipeline,
  UNet2DConditionModel,
} from '@alignprop/diffusion';
import { CLIPModel } from '@alignprop/diffusion/clip';
import { applyLora, loadLora, mixLora, openLora, saveLora } from '@alignprop/lora';
import {
  aesthetic,
  clipScore,
  graphModel,
  hpsV2,
  imageReward,
  nsfwSafety,
  objectDetection,
  pickScore,
  scoreImages,
} from '@alignprop/rewards';
import { AlignPropTrainer, DDPOTrainer, parseAlignPropConfig } from '@alignprop/trainer';
import { fixturePath } from '../fixtures/index.js';

const model = fixturePath('sd2-tiny/model');
const none = undefined as never;
let pipeline: StableDiffusionPipeline;
beforeAll(async () => {
  await useBackend('wasm');
  pipeline = await StableDiffusionPipeline.fromPretrained(model, { engine: new TfjsEngine() });
});

// Functions with several options, an option of another name, and the one that is meant.
type Call = (options: never) => unknown;
const calls: readonly (readonly [name: string, call: Call, wrong: string, meant: string | undefined])[] = [
  ['createEngine', createEngine, 'max_memory', 'maxMemory'],
  ['OnnxRuntimeEngine', (options) => new OnnxRuntimeEngine(options), 'thread', 'threads'],
  [
    'StableDiffusionPipeline.fromPretrained',
    (o) => StableDiffusionPipeline.fromPretrained(model, o),
    'cache_dir',
    'cacheDir',
  ],
  [
    'StableDiffusionPipeline.fromPretrained',
    (o) => StableDiffusionPipeline.fromPretrained(model, o),
    'safety_checker',
    undefined,
  ],
  ['StableDiffusionPipeline.generate', (o) => pipeline.generate('a', o), 'num_inference_step', 'numInferenceSteps'],
  ['StableDiffusionPipeline.generate', (o) => pipeline.generate('a', o), 'negativePrompts', 'negativePrompt'],
  ['StableDiffusionPipeline.with', (o) => pipeline.with(o), 'text_encoder', 'textEncoder'],
  [
    'StableDiffusionPipeline.loadTextualInversion',
    (o) => pipeline.loadTextualInversion('a.pt', o),
    'weight_name',
    'weightName',
  ],
  [
    'UNet2DConditionModel.fromPretrained',
    (o) => UNet2DConditionModel.fromPretrained(model, o),
    'sub_folder',
    'subfolder',
  ],
  ['AutoencoderKL.fromPretrained', (o) => AutoencoderKL.fromPretrained(model, o), 'local_files_only', 'localFilesOnly'],
  ['CLIPModel.fromPretrained', (o) => CLIPModel.fromPretrained(model, o), 'architectur', 'architecture'],
  ['CLIPTokenizer.fromPretrained', (o) => CLIPTokenizer.fromPretrained(model, o), 'sub_folder', 'subfolder'],
  ['CLIPTokenizer.encode', (o) => pipeline.tokenizer.encode(['a'], o), 'max_length', 'maxLength'],
  ['imageGrid', (o) => imageGrid([], o), 'cols', undefined],
  ['applyLora', (o) => applyLora({}, none, o), 'scales', 'scale'],
  ['openLora', (o) => openLora('a', o), 'cache_dir', 'cacheDir'],
  ['openLora', (o) => loadLora('a', o), 'files', 'file'],
  ['saveLora', (o) => saveLora('a', {}, o), 'formats', 'format'],
  ['mixLora', (o) => mixLora(none, none, o), 'coeficient', 'coefficient'],
  ['aesthetic', aesthetic, 'weight', 'weights'],
  ['clipScore', clipScore, 'tokeniser', 'tokenizer'],
  ['hpsV2', hpsV2, 'versions', 'version'],
  ['pickScore', pickScore, 'cache_dir', 'cacheDir'],
  ['pickScore', pickScore, 'revision', undefined],
  ['imageReward', imageReward, 'vision_heads', 'visionHeads'],
  ['objectDetection', objectDetection, 'treshold', 'threshold'],
  ['graphModel', graphModel, 'outputs', 'output'],
  ['nsfwSafety', nsfwSafety, 'models', 'model'],
  ['scoreImages', (o) => scoreImages(none, none, o), 'prompt', 'prompts'],
  ['AlignPropTrainer', (o) => new AlignPropTrainer(o), 'reward_function', 'rewardFunction'],
  ['DDPOTrainer', (o) => new DDPOTrainer(o), 'promptFn', undefined],
  ['AlignPropConfig', parseAlignPropConfig, 'num_epoch', 'num_epochs'],
];

describe('an option that a function does not have', () => {
  it.each(calls)('is refused by %s', async (name, call, wrong, meant) => {
    const result = (async () => (call as (options: object) => unknown)({ [wrong]: 1 }))();
    await expect(result).rejects.toThrow(
      new RegExp(`${name}[^]*${wrong}[^]*${meant ? `Did you mean '${meant}'\\?` : ''}`),
    );
  });

  it('is listed with the others, and may be undefined', () => {
    expect(() => checkOptions('f', { a: 1, stepz: 2, x: undefined }, ['steps'])).toThrow(
      "f: unknown option 'a'. unknown option 'stepz'. Did you mean 'steps'? The options are steps.",
    );
    expect(() => checkOptions('f', { x: undefined, steps: 1 }, ['steps'])).not.toThrow();
  });
});
