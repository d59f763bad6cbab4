// Compares an engine with the reference numbers of diffusers, transformers and TRL (fixtures/README.md), in Node and in
// browsers. The tests of packages/ do so on the backends of Node; this is for those that only a browser has.
import {
  cast,
  gather,
  mean,
  mul,
  reshape,
  tidy,
  type Tensor,
  type Tensor1D,
  type Tensor3D,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import type { Engine } from '@alignprop/autograd-ext';
import { readJson, subfolder, type FileSource } from '@alignprop/autograd-ext/weights';
import {
  AutoencoderKL,
  clipText,
  CLIPTextModel,
  DDIMScheduler,
  StableDiffusionPipeline,
  unet2DCondition,
  UNet2DConditionModel,
  vaeDecode,
  vaeEncode,
} from '@alignprop/diffusion';
import { applyLora } from '@alignprop/lora';
import { AlignPropGradient, type StepPlan } from '@alignprop/trainer';
import { largestDifference, readTensors, toNCHW, toNHWC } from '../../fixtures/tensors.js';

/** A value that was compared with its reference. */
export interface Compared {
  readonly name: string;
  /** max|actual − expected| / max|expected|. */
  readonly difference: number;
  /** The largest difference that the reference allows. */
  readonly tolerance: number;
}

/** The folder of fixtures and the engine that is compared with them. */
interface Setting {
  readonly fixtures: FileSource;
  readonly engine: Engine;
}

const forward = 1e-4;
const backward = 1e-3;

const attached: StepPlan = { weight: 1, coupling: 1 };
const detached: StepPlan = { weight: 0, coupling: 0 };

/**
 * The parts that are compared, by name: text encoders, UNets and VAEs of the shapes of Stable Diffusion 1.5 and 2, with
 * their gradients, and an AlignProp step.
 */
export const references: Readonly<Record<string, (setting: Setting) => Promise<Compared[]>>> = {
  'text encoder of SD 1.5': (setting) => compareTextEncoder(setting, 'sd15-tiny'),
  'text encoder of SD 2': (setting) => compareTextEncoder(setting, 'sd2-tiny'),
  'UNet of SD 1.5': (setting) => compareUNet(setting, 'sd15-tiny'),
  'UNet of SD 2': (setting) => compareUNet(setting, 'sd2-tiny'),
  'VAE of SD 1.5': (setting) => compareVae(setting, 'sd15-tiny'),
  'VAE of SD 2': (setting) => compareVae(setting, 'sd2-tiny'),
  'AlignProp step of SD 1.5': compareAlignProp,
};

/** The largest differences, and which of them are beyond their tolerance. */
export function describeCompared(compared: readonly Compared[]): string {
  return compared
    .map((one) => `${one.name} ${one.difference.toExponential(1)}${isAbove(one) ? ` ABOVE ${one.tolerance}` : ''}`)
    .join(', ');
}

export const isAbove = ({ difference, tolerance }: Compared): boolean => difference > tolerance;

async function compareTextEncoder({ fixtures, engine }: Setting, folder: string): Promise<Compared[]> {
  const golden = await readTensors(fixtures, `${folder}/text_encoder.safetensors`);
  const model = await CLIPTextModel.fromPretrained(subfolder(fixtures, `${folder}/model/text_encoder`));
  const run = engine.compile((params, ids) => {
    const { lastHiddenState, poolerOutput } = clipText(model.config, params, ids!);
    return [lastHiddenState, poolerOutput];
  });
  const [last, pooled] = await run(model.params, golden.input_ids!);
  return [
    await compare('last_hidden_state', last!, golden.last_hidden_state!, forward),
    await compare('pooler_output', pooled!, golden.pooler_output!, forward),
  ];
}

async function compareUNet({ fixtures, engine }: Setting, folder: string): Promise<Compared[]> {
  const golden = await readTensors(fixtures, `${folder}/unet.safetensors`);
  const { unet: cases } = await readJson<{ unet: unknown[] }>(fixtures, `${folder}/case.json`);
  const { config, params } = await UNet2DConditionModel.fromPretrained(subfolder(fixtures, `${folder}/model/unet`));
  const run = engine.compileVjp(
    (weights, sample, timestep, context) =>
      unet2DCondition(config, weights, sample as Tensor4D, timestep!, context as Tensor3D),
    { wrt: [0, 2] },
  );
  const compared: Compared[] = [];
  for (const i of cases.keys()) {
    const of = (name: string) => golden[`${i}.${name}`]!;
    const inputs = [toNHWC(of('sample')), cast(of('timestep'), 'float32'), of('encoder_hidden_states')];
    const { value, inputs: gradients } = await run(params, inputs, toNHWC(of('R')));
    compared.push(
      await compare(`${i} output`, toNCHW(value), of('out'), forward),
      await compare(`${i} gradient of the sample`, toNCHW(gradients[0]!), of('grad_sample'), backward),
      await compare(`${i} gradient of the text`, gradients[1]!, of('grad_encoder_hidden_states'), backward),
    );
  }
  return compared;
}

async function compareVae({ fixtures, engine }: Setting, folder: string): Promise<Compared[]> {
  const golden = await readTensors(fixtures, `${folder}/vae.safetensors`);
  const { vae: cases } = await readJson<{ vae: unknown[] }>(fixtures, `${folder}/case.json`);
  const { config, params } = await AutoencoderKL.fromPretrained(subfolder(fixtures, `${folder}/model/vae`));
  const decode = engine.compileVjp((weights, latents) => vaeDecode(config, weights, latents as Tensor4D), { wrt: [0] });
  const encode = engine.compile((weights, images) => vaeEncode(config, weights, images as Tensor4D).mean);
  const compared: Compared[] = [];
  for (const i of cases.keys()) {
    const of = (name: string) => golden[`${i}.${name}`]!;
    const { value, inputs } = await decode(params, [toNHWC(of('latents'))], toNHWC(of('R')));
    const [encoded] = await encode(params, toNHWC(of('image')));
    compared.push(
      await compare(`${i} image`, toNCHW(value), of('decoded'), forward),
      await compare(`${i} gradient of the latents`, toNCHW(inputs[0]!), of('grad_latents'), backward),
      await compare(`${i} encoded`, toNCHW(encoded!), of('encode_mean'), forward),
    );
  }
  return compared;
}

/** A step of TRL's trainer: two images in 6 steps, the last one attached, with guidance. */
interface Step {
  readonly steps: number;
  readonly eta: number;
  readonly cfg: number;
  readonly trunc: readonly ['fixed', number];
  readonly lora_alpha: number;
  readonly prompts: readonly (readonly string[])[];
  readonly negative_prompt: string;
}

async function compareAlignProp({ fixtures, engine }: Setting): Promise<Compared[]> {
  const { cases } = await readJson<{ cases: { k1: Step } }>(fixtures, 'alignprop-sd15/case.json');
  const common = await readTensors(fixtures, 'alignprop-sd15/common.safetensors');
  const golden = await readTensors(fixtures, 'alignprop-sd15/k1.safetensors');
  const step = cases.k1;
  const pipeline = await adaptedPipeline({ fixtures, engine }, common, step.lora_alpha);
  const pattern = toNHWC(common.pattern!);
  const reward = (images: Tensor4D): Tensor1D => tidy(() => mul(mean(mul(images, pattern), [1, 2, 3]), 40));
  const sampling = { numInferenceSteps: step.steps, guidanceScale: step.cfg, eta: step.eta };
  const { promptEmbeds: negative } = await pipeline.encodePrompt([step.negative_prompt]);
  const prompts = step.prompts[0]!;
  const made = await new AlignPropGradient(pipeline, reward, sampling).compute({
    latents: toNHWC(first(golden.initial_latents!)),
    noise: ({ index }) => toNHWC(row(first(golden.noise!), index)),
    promptEmbeds: (await pipeline.encodePrompt(prompts)).promptEmbeds,
    negativePromptEmbeds: gather(
      negative,
      prompts.map(() => 0),
    ),
    plan: {
      steps: Array.from({ length: step.steps }, (_, i) => (i >= step.trunc[1] ? attached : detached)),
      shown: 'x_0',
      renoised: 0,
    },
    prompts,
    promptMetadata: [],
  });
  return [
    await compare('rewards', made.rewards, first(golden.rewards!), forward),
    await compare('latents', toNCHW(made.trajectory.latents.at(-1)!), row(golden.latents!, step.steps), backward),
    ...(await compareGradients(made.params, golden)),
  ];
}

/** The pipeline of the reference step, with TRL's scheduler and the adapter of the file. */
async function adaptedPipeline(
  { fixtures, engine }: Setting,
  common: Readonly<Record<string, Tensor>>,
  alpha: number,
): Promise<StableDiffusionPipeline> {
  const pipeline = await StableDiffusionPipeline.fromPretrained(subfolder(fixtures, 'sd15-tiny/model'), { engine });
  const adapted = Object.keys(common).flatMap((name) => /^(.*)\.lora_A\.weight$/.exec(name)?.[1] ?? []);
  const modules = Object.fromEntries(
    adapted.map((module) => {
      const [a, b] = [common[`${module}.lora_A.weight`]!, common[`${module}.lora_B.weight`]!];
      return [module, { kind: 'lora', a, b, alpha } as const];
    }),
  );
  const params = await applyLora(pipeline.unet.params, { modules }, { trainable: true });
  const scheduler = DDIMScheduler.fromConfig(pipeline.scheduler.config);
  return pipeline.with({ unet: pipeline.unet.withParams(params), scheduler });
}

/**
 * Compares the adapter's gradients as one vector: those of attention over a single position, in the middle of this
 * UNet, are rounding noise of their own.
 */
async function compareGradients(
  actual: Readonly<Record<string, Tensor>>,
  golden: Readonly<Record<string, Tensor>>,
): Promise<Compared[]> {
  const expected = Object.entries(golden).filter(([name]) => name.startsWith('grad.'));
  const pairs = await Promise.all(
    expected.map(async ([name, gradient]) => [await actual[name.slice(5)]!.data(), await gradient.data()] as const),
  );
  const [actuals, expecteds] = [pairs.flatMap(([one]) => [...one]), pairs.flatMap(([, one]) => [...one])];
  return [compareValues('gradients of the adapter', actuals, expecteds, backward)];
}

async function compare(name: string, actual: Tensor, expected: Tensor, tolerance: number): Promise<Compared> {
  if (String(actual.shape) !== String(expected.shape))
    throw new Error(`compare: ${name} got the shape [${actual.shape}], expected [${expected.shape}].`);
  return compareValues(name, await actual.data(), await expected.data(), tolerance);
}

/** @throws if a value is not a number */
function compareValues(
  name: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: number,
): Compared {
  const { worst, scale } = largestDifference(actual, expected);
  const difference = worst === 0 ? 0 : worst / scale;
  if (!Number.isFinite(difference)) throw new Error(`compareValues: ${name} has NaN, or values where 0 is expected.`);
  return { name, difference, tolerance };
}

const row = (x: Tensor, i: number): Tensor => tidy(() => reshape(gather(x, [i]), x.shape.slice(1)));
const first = (x: Tensor): Tensor => row(x, 0);
