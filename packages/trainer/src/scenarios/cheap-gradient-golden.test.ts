import { mean, mul, reshape, type Tensor } from '@tensorflow/tfjs-core';
import { AutoencoderTiny, LinearDecoder, type Decoder, type StableDiffusionPipeline } from '@alignprop/diffusion';
import { beforeAll, describe, expect, it } from 'vitest';
import { engineNames, startEngine, type EngineName } from '../../../../fixtures/engines.js';
import { expectClose, fixtureJson, fixturePath, fixtureTensors, toNHWC } from '../../../../fixtures/index.js';
import { adaptedSD15, batchAt } from '../__fixtures__/adapted-sd15.js';
import { attachedStep, detachedStep } from '../estimators/plans.js';
import { AlignPropGradient, type AlignPropGradientOptions } from '../gradient/alignprop-gradient.js';

interface GoldenFile {
  lora: { lora_alpha: number };
  prompts: string[];
  negative_prompt: string;
  cfg: number;
  eta: number;
  cases: Record<string, { steps: number; image_size: [number, number] }>;
}
type Golden = Record<string, Tensor>;

const golden = fixtureJson<GoldenFile>('cheap-gradient/case.json');

/** Each case: how many of the last steps are attached, and the options that make it cheaper. */
const cases: Readonly<Record<string, { attached: number; options: Partial<AlignPropGradientOptions> }>> = {
  'exact-k': { attached: 3, options: {} },
  'uncond-detached-k': { attached: 3, options: { cfgGradient: 'conditional' } },
  'uncond-detached-full': { attached: 6, options: { cfgGradient: 'conditional' } },
  'uncond-detached-loss-over-w': {
    attached: 6,
    options: { cfgGradient: 'conditional', cfgGradientCompensation: 'loss' },
  },
  'uncond-detached-per-step': { attached: 6, options: { cfgGradient: 'conditional', cfgGradientCompensation: 'step' } },
  'guidance-interval': { attached: 6, options: { guidanceInterval: [1 / 6, 4 / 6] } },
  'guidance-interval-k': { attached: 3, options: { guidanceInterval: [1 / 6, 4 / 6] } },
  'deepcache-last': { attached: 2, options: { reuseFeatures: 2 } },
  'deepcache-first': { attached: 2, options: { reuseFeatures: 2, reuseFeaturesBlock: 0 } },
  'tiny-lowres': { attached: 3, options: {} },
  rgb: { attached: 3, options: {} },
};

/** The decoder of a case; undefined for the model's own. */
async function decoderOf(name: string, { rgb_weight: weight, rgb_bias: bias }: Golden): Promise<Decoder | undefined> {
  if (name.startsWith('tiny')) return AutoencoderTiny.fromPretrained(fixturePath(`cheap-gradient/${name}`));
  return name === 'rgb' ? new LinearDecoder({}, { weight: weight!, bias: bias! }) : undefined;
}

describe.each(engineNames)('Cheaper gradients on %s', (engineName) => {
  let pipeline: StableDiffusionPipeline;
  let common: Golden;
  beforeAll(async () => {
    const engine = await startEngine(engineName);
    common = await fixtureTensors('cheap-gradient/common.safetensors');
    pipeline = await adaptedSD15(engine, common, golden.lora.lora_alpha);
  });

  // The options act outside the graphs that engines run: one case of each kind is enough where these are slow.
  // EVERY_CASE=1 takes all.
  const slow: Partial<Record<EngineName, readonly string[]>> = {
    cpu: ['deepcache-last', 'rgb'],
    onnxruntime: ['uncond-detached-per-step', 'guidance-interval-k', 'deepcache-last', 'tiny-lowres', 'rgb'],
  };
  const isTaken = (name: string) => process.env.EVERY_CASE || (slow[engineName]?.includes(name) ?? true);
  const taken = Object.entries(cases).filter(([name]) => isTaken(name));

  it.each(taken)('%s has the images, rewards and gradient of its graph', async (name, { attached, options }) => {
    const { steps, image_size: size } = golden.cases[name]!;
    const io = await fixtureTensors(`cheap-gradient/${name}.safetensors`);
    const pattern = toNHWC(common[`pattern.${size.join('x')}`]!);
    const rewardDecoder = await decoderOf(name, common);
    const { prompts, negative_prompt: negative, cfg, eta } = golden;
    const gradient = new AlignPropGradient(pipeline, (images) => mul(mean(mul(images, pattern), [1, 2, 3]), 60), {
      ...{ numInferenceSteps: steps, guidanceScale: cfg, eta, rewardDecoder },
      ...options,
    });
    const computed = await gradient.compute({
      latents: toNHWC(common.initial_latents!),
      noise: ({ index }) => batchAt(common[`noise.${steps}`]!, index),
      promptEmbeds: (await pipeline.encodePrompt(prompts)).promptEmbeds,
      negativePromptEmbeds: (await pipeline.encodePrompt(prompts.map(() => negative))).promptEmbeds,
      plan: {
        steps: Array.from({ length: steps }, (_, i) => (i >= steps - attached ? attachedStep : detachedStep)),
        shown: 'x_0',
        renoised: 0,
      },
      prompts,
      promptMetadata: [],
    });
    expectClose(computed.trajectory.latents.at(-1)!, toNHWC(io.x0!), 1e-3, 'x_0');
    expectClose(computed.rewards, reshape(io.rewards!, [2]), 1e-4, 'rewards');
    const wanted = Object.entries(io).filter(([key]) => key.startsWith('grad.'));
    expect(wanted.length).toBeGreaterThan(60);
    for (const [key, expected] of wanted) expectClose(computed.params[key.slice('grad.'.length)]!, expected, 1e-3, key);
  });
});
