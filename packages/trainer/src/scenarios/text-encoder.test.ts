import { join } from 'node:path';
import {
  add,
  clone,
  dispose,
  memory,
  mul,
  randomNormal,
  square,
  sum,
  tensor,
  tidy,
  type Tensor4D,
  type Variable,
} from '@tensorflow/tfjs-core';
import { random, TfjsEngine, trainable, type Params } from '@alignprop/autograd-ext';
import { record } from '@alignprop/autograd-ext/outside';
import { DDIMScheduler, StableDiffusionPipeline } from '@alignprop/diffusion';
import { addLora, applyLora, loraTensors, openLora } from '@alignprop/lora';
import { beforeAll, describe, expect, it } from 'vitest';
import { fixturePath } from '../../../../fixtures/index.js';
import { brightness, collect, tinyTrainer } from '../__fixtures__/tiny-run.js';
import { out, pipeline, tinySuite } from '../__fixtures__/tiny-suite.js';
import type { AlignPropConfigInput } from '../config/config.js';
import { AlignPropGradient } from '../gradient/alignprop-gradient.js';
import { chainOf } from '../estimators/__fixtures__/chains.js';
import { draftLV, full } from '../estimators/draft.js';
import { drawPlan, type Plan } from '../estimators/plans.js';
import { prefixed } from '../model/trained-weights.js';

tinySuite();

const config: AlignPropConfigInput = {
  train_text_encoder: true,
  sample_num_steps: 2,
  train_batch_size: 1,
  num_epochs: 4,
  negative_prompts: ['grey', 'dark'],
  train_learning_rate: 0.01,
};
const targets = { r: 2, loraAlpha: 2, targetModules: ['q_proj', 'v_proj'] };

/** The variables of the text encoders of a pipeline. */
const textVariables = ({ params: { unet: _, ...texts } }: StableDiffusionPipeline): Record<string, Variable> =>
  Object.assign({}, ...Object.entries(texts).map(([name, params]) => prefixed(name, trainable(params)))) as never;

/** All trained variables, those of the text encoders included. */
const weights = (trained: StableDiffusionPipeline): Record<string, Variable> => ({
  ...trainable(trained.unet.params),
  ...textVariables(trained),
});

let sdxl: StableDiffusionPipeline;
beforeAll(async () => {
  sdxl = await StableDiffusionPipeline.fromPretrained(fixturePath('sdxl-tiny/model'), { engine: new TfjsEngine() });
});
const modelOf = (kind: 'sd2' | 'sdxl') => (kind === 'sdxl' ? sdxl : pipeline);

interface GradientCase {
  readonly plan: () => Plan;
  readonly guidanceScale: number;
  readonly kind?: 'sdxl';
  readonly clipSkip?: number;
  /** Chunks of 75 tokens. */
  readonly chunks?: number;
  /** Whether negative prompts are given, or SDXL's zeros are taken. */
  readonly negativePrompts?: readonly string[] | null;
}
const values = (trained: StableDiffusionPipeline) =>
  Object.fromEntries(Object.entries(weights(trained)).map(([path, x]) => [path, x.dataSync().slice()]));

describe('training the text encoder', () => {
  // With renoised chains, the reported loss is not the one that is differentiated: only the names are checked there.
  it.each<[string, GradientCase]>([
    ['with guidance', { plan: full, guidanceScale: 5 }],
    ['without guidance', { plan: full, guidanceScale: 1 }],
    ['with renoised chains', { plan: () => draftLV(1), guidanceScale: 5 }],
    ['with layers skipped and prompts in chunks', { plan: full, guidanceScale: 5, clipSkip: 1, chunks: 2 }],
    ['of both encoders of SDXL', { kind: 'sdxl', plan: full, guidanceScale: 5 }],
    ['of SDXL beside zeros', { kind: 'sdxl', plan: full, guidanceScale: 5, negativePrompts: null }],
    ['of SDXL in chunks', { kind: 'sdxl', plan: full, guidanceScale: 1, clipSkip: 1, chunks: 2 }],
  ])('has the gradient of its adapter: the loss falls along it, %s', async (_, options) => {
    const { plan, guidanceScale, kind = 'sd2', clipSkip = 0, chunks = 1, negativePrompts: given } = options;
    const base = modelOf(kind);
    const { unet: __, ...texts } = base.params;
    const params = Object.entries(texts).map(([name, tree]) => [name, addLora(tree, targets, random(3))] as const);
    const text = base
      .withParams(Object.fromEntries(params))
      .with({ scheduler: DDIMScheduler.fromConfig(base.scheduler.config) });
    const variables = textVariables(text);
    tidy(() =>
      Object.values(variables).forEach((variable, i) =>
        variable.assign(randomNormal(variable.shape, 0, 0.3, 'float32', i + 1)),
      ),
    ); // B of a new adapter is 0; tfjs ignores a seed of 0
    const sampling = { numInferenceSteps: 2, guidanceScale, eta: 0, clipSkip };
    const gradient = new AlignPropGradient(text, brightness, sampling);
    const latents: Tensor4D = randomNormal([2, 4, 4, 4], 0, 1, 'float32', 2);
    const noise: Tensor4D = randomNormal([2, 4, 4, 4], 0, 1, 'float32', 4);
    const prompts = ['a red crab', chunks > 1 ? `a horse ${'on a hill '.repeat(40)}` : 'a horse'];
    const negativePrompts = given === null ? undefined : ['grey', 'dark'];
    const gradients = async () => {
      const encoding = await text.encodePrompt(prompts, { clipSkip, chunks });
      const negative = await text.encodeNegativePrompt(negativePrompts, 2, { chunks });
      const drawn = drawPlan(plan(), chainOf(2), random(1));
      return gradient.compute({
        latents,
        ...encoding,
        negativePromptEmbeds: negative.promptEmbeds,
        negativePooledPromptEmbeds: negative.pooledPromptEmbeds,
        timeIds: text.timeIds({ batch: 2, height: 32, width: 32 }),
        negativePrompts,
        noise: () => clone(noise),
        plan: drawn,
        prompts,
        promptMetadata: [undefined, undefined],
      });
    };
    const { params: lossGradient } = await gradients();
    expect(Object.keys(lossGradient).sort()).toEqual(Object.keys(variables).sort());
    const before = Object.fromEntries(Object.entries(variables).map(([path, x]) => [path, x.dataSync().slice()]));
    const lossAt = async (paths: readonly string[], distance: number) => {
      tidy(() =>
        Object.entries(variables).forEach(([path, variable]) => {
          const step = paths.includes(path) ? mul(lossGradient[path]!, distance) : 0;
          variable.assign(add(tensor(before[path]!, variable.shape), step));
        }),
      );
      const { rewards } = await gradients();
      return -(rewards.dataSync()[0]! + rewards.dataSync()[1]!) / 2;
    };
    /** The rate at which the loss changes along a part of the gradient, as a multiple of that part's norm. */
    const rateAlong = async (part: RegExp) => {
      const paths = Object.keys(variables).filter((path) => part.test(path));
      const squares = paths.map((path) => tidy(() => sum(square(lossGradient[path]!)).dataSync()[0]!));
      const norm = Math.sqrt(squares.reduce((total, value) => total + value, 0));
      const h = 0.01 / norm;
      return ((await lossAt(paths, h)) - (await lossAt(paths, -h))) / (2 * h) / norm ** 2;
    };
    if (plan === full) expect(await rateAlong(/./)).toBeCloseTo(1, 1);
    // The last layer of SDXL's second encoder enters the pooled text alone.
    if (kind === 'sdxl') expect(await rateAlong(/^text_encoder_2\..*\.layers\.3\./)).toBeCloseTo(1, 1);
    for (const [, tree] of params) dispose(loraTensors(tree));
  });

  it.each<['sd2' | 'sdxl', readonly string[]]>([
    ['sd2', ['text_encoder', 'unet']],
    ['sdxl', ['text_encoder', 'text_encoder_2', 'unet']],
  ])(
    'resumes bit for bit, and writes all adapters to one file, which loads and draws the same: %s',
    async (kind, names) => {
      const base = modelOf(kind);
      const start = { pipeline: base };
      const straight = tinyTrainer({ ...start, config });
      const all = await collect(straight);
      const first = tinyTrainer({ ...start, config: { ...config, output_dir: out } });
      for await (const { globalStep } of first.train()) if (globalStep === 1) break;
      const second = tinyTrainer({ ...start, config: { ...config, output_dir: out, resume_from: out } });
      expect(await collect(second)).toEqual(all.slice(2));
      expect(values(second.pipeline)).toEqual(values(straight.pipeline));
      for (const name of names.filter((part) => part !== 'unet')) {
        const moved = Object.entries(values(second.pipeline)).filter(
          ([path]) => path.startsWith(`${name}.`) && path.endsWith('lora_B.weight'),
        );
        expect(moved.length).toBeGreaterThan(0);
        // The last layer of SDXL's first encoder enters nothing.
        expect(moved.filter(([, value]) => value.some((x) => x !== 0)).length).toBeGreaterThan(moved.length / 2);
      }

      const file = join(out, 'pytorch_lora_weights.safetensors');
      const { components } = await openLora(file);
      expect(Object.keys(components).sort()).toEqual(names);
      const trees = base.params as Readonly<Record<string, Params>>;
      const params = record<Params>();
      for (const [name, state] of Object.entries(components)) params[name] = await applyLora(trees[name]!, state);
      const draw = async (from: StableDiffusionPipeline) => {
        const { images, latents } = await from.generate('cat', {
          outputType: 'tensor',
          seed: 1,
          numInferenceSteps: 2,
          height: 16,
          width: 16,
        });
        const pixels = [...images.dataSync()];
        dispose([images, latents]);
        return pixels;
      };
      const drawn = await draw(second.pipeline);
      expect(await draw(second.pipeline.withParams(params))).toEqual(drawn);
      for (const name of names)
        expect(await draw(second.pipeline.withParams({ [name]: trees[name]! }))).not.toEqual(drawn);
      for (const trainer of [straight, first, second]) trainer.dispose();
      for (const tree of Object.values(params)) dispose(loraTensors(tree));
    },
  );

  it('leaks no tensors, and starts from the same adapter of the UNet as without train_text_encoder', async () => {
    const before = memory().numTensors;
    const both = tinyTrainer({ pipeline, config: { ...config, num_epochs: 1 } });
    const alone = tinyTrainer({ pipeline, config: { ...config, num_epochs: 1, train_text_encoder: false } });
    const paths = Object.keys(trainable(alone.pipeline.unet.params));
    expect(Object.fromEntries(paths.map((path) => [path, values(both.pipeline)[path]]))).toEqual(
      values(alone.pipeline),
    );
    await collect(both);
    both.dispose();
    alone.dispose();
    await Promise.resolve();
    expect(memory().numTensors).toBe(before);
  });

  it('refuses a text encoder with trainable weights unless train_text_encoder is set', () => {
    const params = addLora(pipeline.textEncoder.params, targets, random(0));
    const given = pipeline.with({ textEncoder: pipeline.textEncoder.withParams(params) });
    expect(() => tinyTrainer({ pipeline: given })).toThrow(
      /text encoder has trainable weights .*Set train_text_encoder/,
    );
    dispose(loraTensors(params));
  });
});
