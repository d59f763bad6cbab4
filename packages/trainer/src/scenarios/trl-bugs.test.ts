/**
 * The bugs of TRL's AlignPropTrainer (versions 0.10 to 0.23), each with tests that TRL would fail. config.test.ts,
 * resume.test.ts and trainer.test.ts test most of them further.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dispose, mean, neg, randomNormal, type Tensor1D } from '@tensorflow/tfjs-core';
import { random, trainable } from '@alignprop/autograd-ext';
import { directory, openSafetensors } from '@alignprop/autograd-ext/weights';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { applyLora, loadLora, loraModules, loraTensors, stateTensors } from '@alignprop/lora';
import { describe, expect, it } from 'vitest';
import { collect, oneStepConfig, tinyTrainer } from '../__fixtures__/tiny-run.js';
import { out, pipeline, tinySuite } from '../__fixtures__/tiny-suite.js';
import { alignPropConfigSchema, parseAlignPropConfig, type AlignPropConfigInput } from '../config/config.js';
import { uniform } from '../estimators/cuts.js';
import { ddpoConfigSchema } from '../ddpo/ddpo-config.js';
import { chainOf } from '../estimators/__fixtures__/chains.js';
import { drawPlan, emptyProbability, trains } from '../estimators/plans.js';
import { perStep } from '../estimators/per-step.js';
import { AlignPropTrainer } from '../trainer.js';

tinySuite();

const quick: AlignPropConfigInput = { ...oneStepConfig, train_learning_rate: 0.1 };

const fields = Object.keys(alignPropConfigSchema.shape);

/** The values of an adapter's file in `out`, by name. */
const stored = async (file: string) => {
  const tensors = stateTensors(await loadLora(join(out, file)));
  return Object.fromEntries(
    await Promise.all(
      Object.entries(tensors).map(
        async ([name, value]) => [name, [...('read' in value ? await value.read() : await value.data())]] as const,
      ),
    ),
  );
};
/** The trained values of a UNet, by name. */
const values = ({ unet }: StableDiffusionPipeline) =>
  Object.fromEntries(Object.entries(trainable(unet.params)).map(([name, value]) => [name, [...value.dataSync()]]));

/** Trains into `out`, and returns the metrics and the adapter's values. */
async function run(config: AlignPropConfigInput) {
  const trainer = tinyTrainer({ pipeline, config: { ...quick, output_dir: out, ...config } });
  const metrics = await collect(trainer);
  const result = { metrics, adapter: values(trainer.pipeline) };
  trainer.dispose();
  return result;
}

describe('T1: TRL does not check the truncation, and backward fails when no step is attached', () => {
  it('a truncation beyond the last step is refused by the configuration', () => {
    expect(() =>
      parseAlignPropConfig({ truncated_backprop_rand: false, truncated_backprop_timestep: 49, sample_num_steps: 49 }),
    ).toThrow(/truncated_backprop_timestep: got 49: with sample_num_steps 49/);
    // the probability that TRL fails, in every micro-batch
    expect(() => parseAlignPropConfig({ sample_num_steps: 4 })).toThrow(/81\.7 %/);
    expect(() =>
      parseAlignPropConfig({
        backprop_strategy: 'fixed',
        backprop_kwargs: { fixed: { value: 49 } },
        sample_num_steps: 20,
      }),
    ).toThrow(/backprop_kwargs/); // the authors' code draws forever
    expect(() => parseAlignPropConfig({ truncated_rand_backprop_minmax: [0, 60] })).toThrow(
      /truncated_rand_backprop_minmax: got \[0, 60\], .* at most sample_num_steps, 50.*Try \[0, 50\]/,
    );
    expect(
      parseAlignPropConfig({ truncated_backprop_rand: false, truncated_backprop_timestep: 0 })
        .truncated_backprop_timestep,
    ).toBe(0); // all steps, which TRL cannot attach
  });

  it('a draw that attaches no step is drawn again; with the defaults at 8 steps these are half of the draws', () => {
    const plan = perStep(uniform(0, 51));
    expect(emptyProbability(plan, 8)).toBeCloseTo(0.473, 3);
    const generator = random(0);
    for (let n = 0; n < 300; n++) expect(drawPlan(plan, chainOf(8), generator).steps.some(trains)).toBe(true);
  });
});

describe('T2: TRL resumes into a second adapter, which it never trains', () => {
  it('the loaded adapter is used, trained and saved', async () => {
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
    // A step of AdamW moves weights about as far as the learning rate, so training started from the loaded adapter and
    // not from a new one, whose B is 0.
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

describe('T3: TRL takes the number of saves for that of epochs when it resumes, and then cannot save', () => {
  it('a resumed run continues at the step of its checkpoint, and names checkpoints by their steps', async () => {
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

describe('T4: several processes of TRL hang when the first one saves in a call that waits for all', () => {
  it('saving does not wait: of two concurrent trainers, the one with a folder saves after every step', async () => {
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

describe('T5: TRL saves a UNet with base_layer keys, which nothing loads, and fails on the model card', () => {
  it('the run folder has the adapter alone, with the keys that diffusers reads, and it loads', async () => {
    const { adapter } = await run({ num_epochs: 1 });
    expect((await readdir(out)).sort()).toEqual([
      'checkpoints',
      'config.json',
      'metrics.jsonl',
      'pytorch_lora_weights.safetensors',
      'run.json',
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

describe('T6: an example and the documentation of TRL use a method and a flag that do not exist', () => {
  const readme = () => readFile(new URL('../../README.md', import.meta.url), 'utf8');
  it('the members of the trainer that the README uses exist', async () => {
    const trainer = tinyTrainer({ pipeline, config: quick });
    const used = [...(await readme()).matchAll(/\btrainer\.(\w+)/g)].map(([, name]) => name!);
    expect(new Set(used).size).toBeGreaterThan(2);
    for (const name of used) expect(name in trainer, `trainer.${name}`).toBe(true);
    trainer.dispose();
    expect('save_model' in AlignPropTrainer.prototype).toBe(false);
  });

  it('the flags and options that the README names exist, in both spellings', async () => {
    const text = await readme();
    const sources = fileURLToPath(new URL('../../../cli/src', import.meta.url));
    const files = await readdir(sources, { recursive: true });
    const command = (
      await Promise.all(
        files
          .filter((file) => /^(commands|options)/.test(file) && file.endsWith('.ts') && !file.endsWith('.test.ts'))
          .map((file) => readFile(join(sources, file), 'utf8')),
      )
    ).join('\n');
    const flags = [...text.matchAll(/--(?:no-)?([a-z][a-z0-9-]+)/g)].map(([, flag]) => flag!);
    expect(flags.length).toBeGreaterThan(3);
    const launcher = ['mca', 'bind-to', 'host', 'mpi', 'kill-on-bad-exit', 'no-install-recommends'];
    for (const flag of flags.filter((name) => !launcher.includes(name)))
      expect(fields.includes(flag.replaceAll('-', '_')) || command.includes(`--${flag}`), `--${flag}`).toBe(true);
    const configs = [...text.matchAll(/\bconfig: \{([^}]*)\}/g)].map(([, body]) =>
      body!.replace(/\[[^\]]*\]/g, '[1, 2]'),
    );
    expect(configs.length).toBeGreaterThan(1);
    const camel = (field: string) => field.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
    // The type check of the README's programs tells apart which trainer an option belongs to.
    const options = [...fields, ...Object.keys(ddpoConfigSchema.shape)];
    const known = new Set([...options, ...options.map(camel)]);
    for (const body of configs) for (const [, key] of body.matchAll(/(\w+):/g)) expect(known.has(key!), key).toBe(true);
  });
});

describe('T7: TRL fails with an image hook without log_with, and with mixed_precision none', () => {
  it("the hook gets a tracker, and both of TRL's spellings of mixed_precision are accepted", async () => {
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

describe('T8: TRL adds a new adapter, which switches off the one that the model came with', () => {
  it('training starts from the loaded adapter', async () => {
    await run({ num_epochs: 1 });
    const state = await loadLora(join(out, 'pytorch_lora_weights.safetensors'));
    const params = await applyLora(pipeline.unet.params, state, { trainable: true });
    for (const variable of Object.values(trainable(params)))
      variable.assign(randomNormal(variable.shape, 0, 0.5, 'float32', 3)); // clearly different from the base
    const adapted = pipeline.with({ unet: pipeline.unet.withParams(params) });
    const before = values(adapted);
    // At this learning rate weights hardly move. Prompts and noise of the first step depend on the seed alone.
    const rewardOf = async (from: StableDiffusionPipeline) => {
      const trainer = tinyTrainer({ pipeline: from, config: { ...quick, num_epochs: 1, train_learning_rate: 1e-9 } });
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

  it('an adapter that is not trainable is an error', async () => {
    await run({ num_epochs: 1 });
    const params = await applyLora(pipeline.unet.params, await loadLora(join(out, 'pytorch_lora_weights.safetensors')));
    const adapted = pipeline.with({ unet: pipeline.unet.withParams(params) });
    expect(() => tinyTrainer({ pipeline: adapted, config: quick })).toThrow(/adapter|LoRA/);
    dispose(loraTensors(params));
  });
});

describe('T9: TRL has options that nothing reads, and does not notice a reward without a gradient', () => {
  it('every option is read, has a description that says why it is not, or is refused', async () => {
    const folder = new URL('..', import.meta.url);
    const names = (await readdir(folder, { recursive: true })).filter(
      (name) => name.endsWith('.ts') && !/\.test\.ts$|__fixtures__/.test(name),
    );
    const readCode = async (isIncluded: (name: string) => boolean) => {
      const texts = names.filter(isIncluded).map((name) => readFile(new URL(name, folder), 'utf8'));
      return (await Promise.all(texts)).join('\n').replace(/\/\*.*?\*\/|\/\/[^\n]*/gs, ''); // without comments
    };
    // The files that define the options, and the table of resume, name all of them, and are not searched for readers.
    const isSchema = (name: string) => /^config[\\/]|(^|[\\/])(ddpo-)?config\.ts$/.test(name);
    const isReader = (name: string) => !isSchema(name) && !name.endsWith('resume-rules.ts');
    const [schemas, code] = [await readCode(isSchema), await readCode(isReader)];
    const occurs = (field: string, text: string) => new RegExp(`\\b${field}\\b`).test(text);
    for (const field of fields) expect(occurs(field, schemas), `${field} is defined in ${folder.pathname}`).toBe(true);
    // An option that nothing reads is found: otherwise another file defines options, and this test is void.
    for (const field of ['allow_tf32', 'push_to_hub', 'accelerator_kwargs'])
      expect(occurs(field, code), `${field} is read`).toBe(false);
    const refused: Record<string, unknown> = {
      accelerator_kwargs: { even_batches: true },
    };
    for (const [field, schema] of Object.entries(alignPropConfigSchema.shape)) {
      if (occurs(field, code) || /Accepted so that|kept in config\.json/.test(schema.description ?? '')) continue;
      expect(() => parseAlignPropConfig({ [field]: refused[field] }), `${field} is not read`).toThrow(
        new RegExp(`${field}: got`),
      );
    }
  });

  it('a reward without a gradient stops the run at once', async () => {
    const trainer = tinyTrainer({
      pipeline,
      config: { ...quick, num_epochs: 1 },
      // the reward of TRL's own tests
      rewardFunction: (images) => neg(mean(randomNormal(images.shape), [1, 2, 3])) as Tensor1D,
    });
    await expect(collect(trainer)).rejects.toThrow(/rewardFunction: returned scores without a gradient.*DDPOTrainer/);
    trainer.dispose();
  });
});
