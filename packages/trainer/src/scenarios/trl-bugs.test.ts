/**
 * What TRL's AlignPropTrainer does wrong (versions 0.10 to 0.23), each with a test that its behaviour would fail.
 * config.test.ts, resume.test.ts and trainer.test.ts go further into most of them.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dispose, mean, neg, randomNormal, type Tensor1D } from '@tensorflow/tfjs-core';
import { random, trainable } from '@alignprop/autograd-ext';
import { directory, openSafetensors } from '@alignprop/autograd-ext/weights';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { applyLora, loadLora, loraModules, loraTensors } from '@alignprop/lora';
import { describe, expect, it } from 'vitest';
import { collect, tinyTrainer } from '../__fixtures__/tiny-run.js';
import { out, pipeline } from '../__fixtures__/tiny-suite.js';
import { alignPropConfigSchema, parseAlignPropConfig, type AlignPropConfigInput } from '../config/config.js';
import { uniform } from '../estimators/cuts.js';
import { ddpoConfigSchema } from '../ddpo/ddpo-config.js';
import { drawPlan, emptyProbability } from '../estimators/plans.js';
import { perStep } from '../estimators/per-step.js';
import { AlignPropTrainer } from '../trainer.js';

/** One denoising step of one small image. */
const quick: AlignPropConfigInput = {
  sample_num_steps: 1,
  truncated_backprop_timestep: 0,
  train_batch_size: 1,
  train_learning_rate: 0.1,
};
const stored = async (file: string) => {
  const { tensors } = await loadLora(join(out, file));
  return Object.fromEntries(
    await Promise.all(
      Object.entries(tensors).map(
        async ([name, value]) => [name, [...('read' in value ? await value.read() : await value.data())]] as const,
      ),
    ),
  );
};
const values = (of: StableDiffusionPipeline) =>
  Object.fromEntries(Object.entries(trainable(of.unet.params)).map(([name, value]) => [name, [...value.dataSync()]]));

/** Trains in `out`; gives back what can be seen of it. */
async function run(config: AlignPropConfigInput) {
  const trainer = tinyTrainer({ pipeline, config: { ...quick, output_dir: out, ...config } });
  const metrics = await collect(trainer);
  const result = { metrics, adapter: values(trainer.pipeline) };
  trainer.dispose();
  return result;
}

describe('T1: whether the truncation fits the number of steps is never checked, and backward fails where it attaches no step', () => {
  it('a truncation beyond the last step is refused before anything is loaded or drawn', () => {
    expect(() =>
      parseAlignPropConfig({ truncated_backprop_rand: false, truncated_backprop_timestep: 49, sample_num_steps: 49 }),
    ).toThrow(/truncated_backprop_timestep: got 49: with sample_num_steps 49/);
    // TRL's chance to crash, in every micro-batch
    expect(() => parseAlignPropConfig({ sample_num_steps: 4 })).toThrow(/81\.7 %/);
    expect(() =>
      parseAlignPropConfig({
        backprop_strategy: 'fixed',
        backprop_kwargs: { fixed: { value: 49 } },
        sample_num_steps: 20,
      }),
    ).toThrow(/backprop_kwargs/); // the authors' code draws for ever
    expect(
      parseAlignPropConfig({ truncated_backprop_rand: false, truncated_backprop_timestep: 0 })
        .truncated_backprop_timestep,
    ).toBe(0); // all steps: out of reach there
  });

  it('a draw that attaches nothing is drawn again, half of the time with the defaults at 8 steps', () => {
    const plan = perStep(uniform(0, 51));
    expect(emptyProbability(plan, 8)).toBeCloseTo(0.473, 3);
    const generator = random(0);
    for (let n = 0; n < 300; n++)
      expect(drawPlan(plan, 8, generator).steps.some(({ attached }) => attached)).toBe(true);
  });
});

describe('T2: resuming loads into a second adapter, which is never trained', () => {
  it('the adapter that was loaded is the one that is used, trained and saved', async () => {
    const first = await run({ num_epochs: 1 });
    const resumed = tinyTrainer({
      pipeline,
      config: { ...quick, output_dir: out, resume_from: out, num_epochs: 2, train_learning_rate: 1e-4 },
    });
    const modules = Object.keys(loraModules(resumed.pipeline.unet.params)).length;
    await collect(resumed);
    const after = values(resumed.pipeline);
    expect(Object.keys(loraModules(resumed.pipeline.unet.params))).toHaveLength(modules);
    resumed.dispose();
    expect(await stored('checkpoints/checkpoint_1/pytorch_lora_weights.safetensors')).toEqual(first.adapter);
    expect(await stored('pytorch_lora_weights.safetensors')).toEqual(after);
    expect(after).not.toEqual(first.adapter);
    // A step of AdamW moves weights about as far as the learning rate: it started from what was loaded, not from a new
    // adapter's B of 0.
    const distance = (from: readonly number[], to: readonly number[]) =>
      Math.max(...from.map((value, i) => Math.abs(value - to[i]!)));
    for (const [name, list] of Object.entries(after))
      expect(distance(list, first.adapter[name]!), name).toBeLessThan(1e-3);
    expect(
      Math.max(
        ...Object.entries(first.adapter)
          .filter(([name]) => name.includes('lora_B'))
          .map(([, list]) =>
            distance(
              list,
              list.map(() => 0),
            ),
          ),
      ),
    ).toBeGreaterThan(0.05);
  });
});

describe('T3: resuming counts checkpoints as epochs, begins their numbers again, and then cannot save', () => {
  it('a checkpoint given by its path goes on at its step, and the next one has the next number', async () => {
    const first = await run({ num_epochs: 2, save_freq: 2 });
    expect(first.metrics.map(({ epoch }) => epoch)).toEqual([0, 1]);
    const second = await run({ num_epochs: 5, save_freq: 2, resume_from: join(out, 'checkpoints/checkpoint_2') });
    expect(second.metrics.map(({ epoch, globalStep }) => [epoch, globalStep])).toEqual([
      [2, 2],
      [3, 3],
      [4, 4],
    ]);
    expect((await readdir(join(out, 'checkpoints'))).sort()).toEqual(['checkpoint_2', 'checkpoint_4', 'checkpoint_5']);
  });
});

describe('T4: only the first process saves, within a call that waits for all of them, so that several hang', () => {
  it('saving waits for nobody: of two trainers side by side the one with a folder saves after every step, the other never does', async () => {
    const config = { ...quick, num_epochs: 2 };
    const [writer, other] = [
      tinyTrainer({ pipeline, config: { ...config, output_dir: out } }),
      tinyTrainer({ pipeline, config }),
    ];
    const metrics = await Promise.all([collect(writer), collect(other)]);
    expect(metrics[1]).toEqual(metrics[0]);
    expect(values(other.pipeline)).toEqual(values(writer.pipeline));
    expect((await readdir(join(out, 'checkpoints'))).sort()).toEqual(['checkpoint_1', 'checkpoint_2']);
    expect(await writer.saveCheckpoint()).toBe(join(out, 'checkpoints/checkpoint_2'));
    for (const trainer of [writer, other]) trainer.dispose();
  });
});

describe('T5: save_pretrained writes a UNet with base_layer keys, which nothing loads, and fails on its model card', () => {
  it('the run folder holds the adapter alone, under keys that diffusers reads, and it loads', async () => {
    const { adapter } = await run({ num_epochs: 1 });
    expect((await readdir(out)).sort()).toEqual([
      'checkpoints',
      'config.json',
      'metrics.jsonl',
      'pytorch_lora_weights.safetensors',
    ]);
    const { tensors } = await openSafetensors(directory(out), 'pytorch_lora_weights.safetensors');
    const keys = [...tensors.keys()];
    expect(keys).toHaveLength(Object.keys(adapter).length);
    for (const key of keys) expect(key).toMatch(/^unet\.(?!.*base_layer).*\.lora\.(down|up)\.weight$/);
    const params = await applyLora(
      pipeline.unet.params,
      await loadLora(join(out, 'pytorch_lora_weights.safetensors')),
      { trainable: true },
    );
    expect(values(pipeline.with({ unet: pipeline.unet.withParams(params) }))).toEqual(adapter);
    dispose(loraTensors(params));
  });
});

describe('T6: the example calls a method, and the documentation a flag, that do not exist', () => {
  const readme = () => readFile(new URL('../../README.md', import.meta.url), 'utf8');
  const fields = Object.keys(alignPropConfigSchema.shape);

  it('everything of the trainer that the README uses is there', async () => {
    const trainer = tinyTrainer({ pipeline, config: quick });
    const used = [...(await readme()).matchAll(/\btrainer\.(\w+)/g)].map(([, name]) => name!);
    expect(new Set(used).size).toBeGreaterThan(2);
    for (const name of used) expect(name in trainer, `trainer.${name}`).toBe(true);
    trainer.dispose();
    expect('save_model' in AlignPropTrainer.prototype).toBe(false);
  });

  it('every flag and every option that the README names is there, in both spellings', async () => {
    const text = await readme();
    const read = (name: string) => readFile(new URL(`../../../cli/src/${name}.ts`, import.meta.url), 'utf8');
    const command = (
      await Promise.all(['commands/train', 'commands/generate', 'commands/export', 'options/engine-options'].map(read))
    ).join('\n');
    const flags = [...text.matchAll(/--(?:no-)?([a-z][a-z0-9-]+)/g)].map(([, flag]) => flag!);
    expect(flags.length).toBeGreaterThan(3);
    const launcher = ['mca', 'bind-to', 'mpi', 'no-install-recommends'];
    for (const flag of flags.filter((name) => !launcher.includes(name)))
      expect(fields.includes(flag.replaceAll('-', '_')) || command.includes(`--${flag}`), `--${flag}`).toBe(true);
    const configs = [...text.matchAll(/\bconfig: \{([^}]*)\}/g)].map(([, body]) =>
      body!.replace(/\[[^\]]*\]/g, '[1, 2]'),
    );
    expect(configs.length).toBeGreaterThan(1);
    const camel = (field: string) => field.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
    // which trainer a program means, its types check
    const options = [...fields, ...Object.keys(ddpoConfigSchema.shape)];
    const known = new Set([...options, ...options.map(camel)]);
    for (const body of configs) for (const [, key] of body.matchAll(/(\w+):/g)) expect(known.has(key!), key).toBe(true);
  });
});

describe('T7: an image hook without log_with is an IndexError, and mixed_precision none is refused by accelerate', () => {
  it("the hook is called with a tracker, and both of TRL's spellings are taken", async () => {
    const steps: number[] = [];
    const trainer = tinyTrainer({
      pipeline,
      config: { ...quick, num_epochs: 2, log_with: null, mixed_precision: 'none' },
      imageSamplesHook: async ({ images, prompts }, step, tracker) => {
        await tracker.logImages?.(images, prompts, step);
        steps.push(step);
      },
    });
    await collect(trainer);
    trainer.dispose();
    expect(steps).toEqual([0, 1]);
  });
});

describe('T8: an adapter that the model came with is switched off by the new one', () => {
  it('training starts from the adapter that was loaded', async () => {
    await run({ num_epochs: 1 });
    const state = await loadLora(join(out, 'pytorch_lora_weights.safetensors'));
    const params = await applyLora(pipeline.unet.params, state, { trainable: true });
    for (const variable of Object.values(trainable(params)))
      variable.assign(randomNormal(variable.shape, 0, 0.5, 'float32', 3)); // unlike the base
    const adapted = pipeline.with({ unet: pipeline.unet.withParams(params) });
    const before = values(adapted);
    // At this learning rate nothing moves; the first step's prompts and noise are those of the seed, whatever is
    // trained.
    const rewardOf = async (of: StableDiffusionPipeline) => {
      const trainer = tinyTrainer({ pipeline: of, config: { ...quick, num_epochs: 1, train_learning_rate: 1e-9 } });
      const [metrics] = await collect(trainer);
      trainer.dispose();
      return metrics!.rewardMean;
    };
    const [fromAdapter, fromBase] = [await rewardOf(adapted), await rewardOf(pipeline)];
    expect(fromAdapter).not.toBeCloseTo(fromBase, 4);
    for (const [name, list] of Object.entries(values(adapted)))
      list.forEach((value, i) => expect(value).toBeCloseTo(before[name]![i]!, 5));
    dispose(loraTensors(params));
  });

  it('an adapter that is not trainable is not dropped in silence', async () => {
    await run({ num_epochs: 1 });
    const params = await applyLora(pipeline.unet.params, await loadLora(join(out, 'pytorch_lora_weights.safetensors')));
    const adapted = pipeline.with({ unet: pipeline.unet.withParams(params) });
    expect(() => tinyTrainer({ pipeline: adapted, config: quick })).toThrow(/adapter|LoRA/);
    dispose(loraTensors(params));
  });
});

describe('T9: options that nothing reads, and a reward without a gradient that nobody notices', () => {
  it('every option is read, or its description says that it is not, or it is refused', async () => {
    const folder = new URL('..', import.meta.url);
    const names = (await readdir(folder, { recursive: true })).filter(
      (name) => name.endsWith('.ts') && !/\.test\.ts$|(^|\/)(ddpo-)?config\.ts$|__fixtures__/.test(name),
    );
    const sources = (await Promise.all(names.map((name) => readFile(new URL(name, folder), 'utf8')))).join('\n');
    const isRead = (field: string) => new RegExp(`\\b${field}\\b`).test(sources);
    const refused: Record<string, unknown> = {
      accelerator_kwargs: { even_batches: true },
      tracker_kwargs: { wandb: {} },
      push_to_hub: true,
      log_with: 'wandb',
    };
    for (const [field, schema] of Object.entries(alignPropConfigSchema.shape)) {
      if (isRead(field) || /Accepted so that|kept in config\.json/.test(schema.description ?? '')) continue;
      expect(() => parseAlignPropConfig({ [field]: refused[field] }), `${field} is not read`).toThrow(
        new RegExp(`${field}: got`),
      );
    }
  });

  it('a reward without a gradient is told of', async () => {
    const warnings: string[] = [];
    const trainer = tinyTrainer({
      pipeline,
      config: { ...quick, num_epochs: 1 },
      // that of TRL's own tests
      rewardFunction: (images) => neg(mean(randomNormal(images.shape), [1, 2, 3])) as Tensor1D,
      logger: { info: () => {}, warn: (message) => void warnings.push(message) },
    });
    await collect(trainer);
    trainer.dispose();
    expect(warnings.join()).toMatch(/gradient of step 0 is zero/);
  });
});
