import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dispose, memory } from '@tensorflow/tfjs-core';
import { trainable } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { applyLora, loadLora, loraTensors } from '@alignprop/lora';
import {
  capped,
  jpegCompressibility,
  normalised,
  weightedSum,
  type DetailedReward,
  type RewardFunction,
} from '@alignprop/rewards';
import { describe, expect, it } from 'vitest';
import { brightness, collect, tinyTrainer } from '../__fixtures__/tiny-run.js';
import { out, pipeline } from '../__fixtures__/tiny-suite.js';
import type { AlignPropConfigInput } from '../config/config.js';

const weights = (of: StableDiffusionPipeline) =>
  Object.values(trainable(of.unet.params)).flatMap((x) => [...x.dataSync()]);
const checkpoints = async () => (await readdir(join(out, 'checkpoints'))).sort();
const lines = async () =>
  (await readFile(join(out, 'metrics.jsonl'), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number>);

/** Everything random is on: noise at every step, a random plan, prompts, negative prompts in turn. */
const busy: AlignPropConfigInput = {
  truncated_backprop_rand: true,
  truncated_rand_backprop_minmax: [0, 3],
  train_gradient_accumulation_steps: 2,
  train_batch_size: 1,
  negative_prompts: ['grey', 'red', 'dark'],
  lora_alpha: 3, // not the rank: TRL's file has no place for it
};

/** Trains and returns what a user could see of it. */
async function run(config: AlignPropConfigInput, signal?: AbortSignal) {
  const trainer = tinyTrainer({ pipeline, config: { output_dir: out, ...config } });
  const metrics = await collect(trainer, signal);
  const result = { metrics, weights: weights(trainer.pipeline) };
  trainer.dispose();
  return result;
}
const quick: AlignPropConfigInput = { sample_num_steps: 1, truncated_backprop_timestep: 0, train_batch_size: 1 };

describe('resuming', () => {
  it('T2, T3: three steps, resume, three steps are six steps, to the bit', async () => {
    const straight = await run({ ...busy, num_epochs: 6, output_dir: '' });
    const first = await run({ ...busy, num_epochs: 3 });
    const second = await run({ ...busy, num_epochs: 6, resume_from: out });
    expect([...first.metrics, ...second.metrics]).toEqual(straight.metrics);
    expect(second.weights).toEqual(straight.weights);
    expect((await lines()).map(({ global_step }) => global_step)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(await checkpoints()).toEqual([
      'checkpoint_2',
      'checkpoint_3',
      'checkpoint_4',
      'checkpoint_5',
      'checkpoint_6',
    ]);
  });

  it('goes on with what the reward learnt of its scores, and starts it anew where the checkpoint has nothing of it', async () => {
    const warnings: string[] = [];
    const learning = async (
      config: AlignPropConfigInput,
      make = () => weightedSum({ bright: [normalised(brightness), 1], size: [jpegCompressibility(), 0.1] }),
    ) => {
      const rewardFunction = make() as RewardFunction<undefined>;
      const trainer = tinyTrainer({
        pipeline,
        rewardFunction,
        config: { ...busy, output_dir: out, ...config },
        logger: { info: () => {}, warn: (text) => void warnings.push(text) },
      });
      const result = {
        metrics: await collect(trainer),
        weights: weights(trainer.pipeline),
        state: (rewardFunction as DetailedReward).memory?.state(),
      };
      trainer.dispose();
      return result;
    };
    const straight = await learning({ num_epochs: 4, output_dir: '' });
    const first = await learning({ num_epochs: 2 });
    const second = await learning({ num_epochs: 4, resume_from: out });
    expect([...first.metrics, ...second.metrics]).toEqual(straight.metrics);
    expect(second.weights).toEqual(straight.weights);
    expect(second.state).toEqual(straight.state);
    expect(straight.state).toMatchObject({ parts: { bright: { count: 8 } } });
    const last = straight.metrics.at(-1)!;
    expect(Object.keys(last.rewardTerms)).toEqual(['bright', 'size', 'bright.raw']);
    expect(last.rewardMean).toBeCloseTo(last.rewardTerms.bright! + last.rewardTerms.size!, 5);
    expect((await lines()).at(-1)).toMatchObject({
      'reward/bright': last.rewardTerms.bright,
      'reward/bright.raw': last.rewardTerms['bright.raw'],
      reward_mean: last.rewardMean,
    });
    expect(warnings.filter((text) => text.includes('anew'))).toEqual([]);
    await learning({ num_epochs: 5, resume_from: out }, () => normalised(brightness));
    await learning({ num_epochs: 6, resume_from: out }, () => capped(brightness, 100));
    await learning({ num_epochs: 7, resume_from: out }, () => normalised(brightness));
    const anew = 'What the reward learnt of its scores is not resumed, it starts anew: ';
    expect(warnings.filter((text) => text.startsWith(anew))).toEqual([
      expect.stringMatching(/normalised: state got .*It was written for another reward\.$/),
      `${anew}The checkpoint has none.`,
    ]);
  });

  it('takes a checkpoint, the folder it is in, or the run; removes the metrics beyond it', async () => {
    await run({ ...quick, num_epochs: 3 });
    await rm(join(out, 'checkpoints/checkpoint_3'), { recursive: true }); // as if the run had died before saving it
    for (const resume_from of [join(out, 'checkpoints/checkpoint_2'), join(out, 'checkpoints'), out]) {
      const { metrics } = await run({ ...quick, num_epochs: 3, resume_from });
      expect(metrics.map(({ globalStep }) => globalStep)).toEqual([2]);
      expect((await lines()).map(({ global_step }) => global_step)).toEqual([0, 1, 2]);
      await rm(join(out, 'checkpoints/checkpoint_3'), { recursive: true });
    }
  });

  it('goes on in another folder, and says when nothing is left to train', async () => {
    await run({ ...quick, num_epochs: 2 });
    const other = join(out, 'other');
    const { metrics } = await run({ ...quick, num_epochs: 3, resume_from: out, output_dir: other });
    expect(metrics).toHaveLength(1);
    expect(await readdir(join(other, 'checkpoints'))).toEqual(['checkpoint_3']);
    const warnings: string[] = [];
    const done = tinyTrainer({
      pipeline,
      config: { ...quick, num_epochs: 3, resume_from: other },
      logger: { info: () => {}, warn: (message) => void warnings.push(message) },
    });
    expect(await collect(done)).toEqual([]);
    expect(warnings.join()).toMatch(/Nothing to train: the checkpoint has 3 steps, num_epochs is 3/);
    done.dispose();
  });

  it.each([
    ['state.json', (text: Buffer) => text.subarray(0, text.length - 30)],
    ['state.json', () => Buffer.from('{}')],
    ['optimizer.safetensors', (bytes: Buffer) => bytes.subarray(0, bytes.length - 4)],
    ['optimizer.safetensors', (bytes: Buffer) => (bytes.writeUInt8(bytes.at(-2)! ^ 1, bytes.length - 2), bytes)],
    ['pytorch_lora_weights.safetensors', () => Buffer.alloc(0)],
  ] as const)('names the damaged file: %s', async (file, damage) => {
    await run({ ...quick, num_epochs: 1 });
    const path = join(out, 'checkpoints/checkpoint_1', file);
    await writeFile(path, damage(await readFile(path)));
    const tensors = memory().numTensors;
    const trainer = tinyTrainer({ pipeline, config: { ...quick, num_epochs: 2, resume_from: out } });
    const before = weights(trainer.pipeline);
    await expect(collect(trainer)).rejects.toThrow(`cannot resume from ${path}: `);
    expect(weights(trainer.pipeline)).toEqual(before);
    trainer.dispose();
    expect(memory().numTensors).toBe(tensors);
  });

  it('names missing files, a folder without checkpoints, and a checkpoint of another adapter', async () => {
    await expect(run({ ...quick, resume_from: join(out, 'nowhere') })).rejects.toThrow(
      /resume_from: no checkpoint in '.*nowhere'/,
    );
    await run({ ...quick, num_epochs: 1 });
    const resume = { ...quick, num_epochs: 2, resume_from: out };
    await expect(run({ ...resume, lora_rank: 2 })).rejects.toThrow(
      /pytorch_lora_weights\.safetensors: it was written for another adapter or model: .* has shape \[4, 16\], expected \[2, 16\].* and \d+ more/,
    );
    await expect(run({ ...resume, lora_target_modules: ['to_q'] })).rejects.toThrow(
      /belongs to nothing that is trained/,
    );
    await rm(join(out, 'checkpoints/checkpoint_1/optimizer.safetensors'));
    await expect(run(resume)).rejects.toThrow(/checkpoint_1\/optimizer\.safetensors: ENOENT/);
  });
});

describe('the run folder', () => {
  it('T9: keeps num_checkpoint_limit checkpoints, saves every save_freq epochs and the last', async () => {
    await run({ ...quick, num_epochs: 5, save_freq: 2, num_checkpoint_limit: 2 });
    expect(await checkpoints()).toEqual(['checkpoint_4', 'checkpoint_5']);
    expect((await readdir(join(out, 'checkpoints/checkpoint_5'))).sort()).toEqual([
      'optimizer.safetensors',
      'pytorch_lora_weights.safetensors',
      'state.json',
    ]);
    expect((await readdir(out)).sort()).toEqual([
      'checkpoints',
      'config.json',
      'metrics.jsonl',
      'pytorch_lora_weights.safetensors',
    ]);
    const [line] = await lines();
    expect(Object.keys(line!)).toEqual([
      'epoch',
      'global_step',
      'reward_mean',
      'reward_std',
      'loss',
      'grad_norm',
      'learning_rate',
      'seconds',
    ]);
    expect(JSON.parse(await readFile(join(out, 'config.json'), 'utf8'))).toMatchObject({
      num_epochs: 5,
      save_freq: 2,
      train_learning_rate: 1e-3,
    });
  });

  it('T5: the adapter it writes loads, and draws what the trainer draws', async () => {
    const trainer = tinyTrainer({ pipeline, config: { ...quick, output_dir: out, train_learning_rate: 0.1 } });
    await collect(trainer);
    const draw = async (from: StableDiffusionPipeline) => {
      const { images, latents } = await from.generate('cat', { seed: 1, numInferenceSteps: 2, height: 16, width: 16 });
      const values = [...images.dataSync()];
      dispose([images, latents]);
      return values;
    };
    const params = await applyLora(pipeline.unet.params, await loadLora(join(out, 'pytorch_lora_weights.safetensors')));
    const loaded = trainer.pipeline.with({ unet: pipeline.unet.withParams(params) });
    expect(await draw(loaded)).toEqual(await draw(trainer.pipeline));
    expect(await draw(loaded)).not.toEqual(await draw(trainer.pipeline.with({ unet: pipeline.unet })));
    dispose(loraTensors(params));
    trainer.dispose();
  });

  it('refuses the folder of another run, unless told to overwrite it', async () => {
    await run({ ...quick, num_epochs: 2 });
    await expect(run({ ...quick, num_epochs: 1 })).rejects.toThrow(
      /already holds checkpoint_1, checkpoint_2 of another run.*resume_from.*overwrite_output_dir/,
    );
    await expect(run({ ...quick, num_epochs: 3, resume_from: join(out, 'checkpoints/checkpoint_1') })).rejects.toThrow(
      /already holds checkpoint_2 beyond step 1/,
    );
    await run({ ...quick, num_epochs: 1, overwrite_output_dir: true });
    expect(await checkpoints()).toEqual(['checkpoint_1']);
    expect(await lines()).toHaveLength(1);
  });

  it('fails before any step where it cannot write', async () => {
    await writeFile(join(out, 'file'), '');
    let drawn = 0;
    const trainer = tinyTrainer({
      pipeline,
      promptFunction: () => (drawn++, 'cat'),
      config: { ...quick, output_dir: join(out, 'file', 'inside') },
    });
    await expect(collect(trainer)).rejects.toThrow(/output_dir: cannot write to .*inside: ENOTDIR/);
    expect(drawn).toBe(0);
    trainer.dispose();
  });

  it('writes nothing without a folder, and to logdir/run_name or project_dir where those are given', async () => {
    const trainer = tinyTrainer({ pipeline, config: { ...quick, num_epochs: 1 } });
    await collect(trainer);
    await expect(trainer.saveCheckpoint()).rejects.toThrow(/Set output_dir/);
    trainer.dispose();
    await run({ ...quick, num_epochs: 1, output_dir: '', logdir: out, run_name: 'named' });
    await run({ ...quick, num_epochs: 1, output_dir: '', project_kwargs: { project_dir: join(out, 'project') } });
    expect((await readdir(out)).sort()).toEqual(['named', 'project']);
  });
});

describe('stopping', () => {
  it('when aborted within a step finishes with a checkpoint of the last complete one, from which resuming is exact', async () => {
    const straight = await run({ ...busy, num_epochs: 3, output_dir: '' });
    const controller = new AbortController();
    const tensors = memory().numTensors;
    const trainer = tinyTrainer({ pipeline, config: { ...busy, num_epochs: 3, save_freq: 100, output_dir: out } });
    const metrics = [];
    for await (const { seconds: _, ...step } of trainer.train({ signal: controller.signal })) {
      metrics.push(step);
      setTimeout(() => controller.abort(), 1); // lands in the second step
    }
    expect(trainer.globalStep).toBe(1);
    trainer.dispose();
    await Promise.resolve();
    expect(memory().numTensors).toBe(tensors);
    expect(await checkpoints()).toEqual(['checkpoint_1']);
    const rest = await run({ ...busy, num_epochs: 3, resume_from: out });
    expect([...metrics, ...rest.metrics]).toEqual(straight.metrics);
    expect(rest.weights).toEqual(straight.weights);
  });

  it('when the loop is left writes a checkpoint and the adapter, and can go on', async () => {
    const trainer = tinyTrainer({ pipeline, config: { ...quick, num_epochs: 4, save_freq: 100, output_dir: out } });
    for await (const { globalStep } of trainer.train()) if (globalStep === 1) break;
    expect(await checkpoints()).toEqual(['checkpoint_2']);
    expect(await readdir(out)).toContain('pytorch_lora_weights.safetensors');
    expect((await collect(trainer)).map(({ globalStep }) => globalStep)).toEqual([2, 3]);
    expect(await lines()).toHaveLength(4);
    trainer.dispose();
  });
});
