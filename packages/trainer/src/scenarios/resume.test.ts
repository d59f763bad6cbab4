import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dispose, memory } from '@tensorflow/tfjs-core';
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
import {
  brightness,
  collect,
  drawnValues,
  oneStepConfig,
  tinyTrainer,
  trainedValues,
} from '../__fixtures__/tiny-run.js';
import { out, pipeline, tinySuite } from '../__fixtures__/tiny-suite.js';
import type { AlignPropConfigInput } from '../config/config.js';
import { writeChecksums } from '../run/checksums.js';

tinySuite();

const checkpoints = async () => (await readdir(join(out, 'checkpoints'))).sort();
const lines = async () =>
  (await readFile(join(out, 'metrics.jsonl'), 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, number>);

/** Uses every source of randomness: noise at each step, a random plan, random prompts, negative prompts in turn. */
const busy: AlignPropConfigInput = {
  sample_num_steps: 2,
  truncated_backprop_rand: true,
  truncated_rand_backprop_minmax: [0, 2],
  train_gradient_accumulation_steps: 2,
  train_batch_size: 1,
  negative_prompts: ['grey', 'red', 'dark'],
  lora_alpha: 3, // unlike the rank, hence not in TRL's file format
};

/** Trains into `out`, and returns the metrics and the trained values. */
async function run(config: AlignPropConfigInput, signal?: AbortSignal) {
  const trainer = tinyTrainer({ pipeline, config: { output_dir: out, ...config } });
  const metrics = await collect(trainer, signal);
  const result = { metrics, weights: trainedValues(trainer.pipeline) };
  trainer.dispose();
  return result;
}

/** Changes state.json of checkpoint_1, and its checksum. */
async function editState(edit: (state: Record<string, any>) => object): Promise<void> {
  const folder = join(out, 'checkpoints/checkpoint_1');
  const path = join(folder, 'state.json');
  await writeFile(path, JSON.stringify(edit(JSON.parse(await readFile(path, 'utf8')) as Record<string, any>)));
  await writeChecksums(folder, ['state.json', 'optimizer.safetensors', 'pytorch_lora_weights.safetensors']);
}

/** Makes checkpoint_1 say that its run had other options. */
const claim = (options: AlignPropConfigInput) =>
  editState(({ manifest, ...state }) => ({
    ...state,
    manifest: { ...manifest, config: { ...manifest.config, ...options } },
  }));

describe('resuming', () => {
  it('T2, T3: three steps and three resumed ones equal six steps bit for bit', async () => {
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

  it('replays the noise of the steps of a scheduler that draws some, and refuses another scheduler', async () => {
    const noisy = { ...busy, scheduler: 'lcm', sample_guidance_scale: 1, negative_prompts: null } as const;
    const straight = await run({ ...noisy, num_epochs: 2, output_dir: '' });
    const first = await run({ ...noisy, num_epochs: 1 });
    await expect(run({ ...noisy, scheduler: 'ddim', num_epochs: 2, resume_from: out })).rejects.toThrow(
      /scheduler got "ddim", expected "lcm"/,
    );
    const second = await run({ ...noisy, num_epochs: 2, resume_from: out });
    expect([...first.metrics, ...second.metrics]).toEqual(straight.metrics);
    expect(second.weights).toEqual(straight.weights);
  });

  it('restores the state of a reward that learns, and warns where the checkpoint has none for it', async () => {
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
        weights: trainedValues(trainer.pipeline),
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

  it('accepts a checkpoint, its folder or the folder of the run, and removes later metrics', async () => {
    await run({ ...oneStepConfig, num_epochs: 3 });
    await rm(join(out, 'checkpoints/checkpoint_3'), { recursive: true }); // as after a crash before it was saved
    for (const resume_from of [join(out, 'checkpoints/checkpoint_2'), join(out, 'checkpoints'), out]) {
      const { metrics } = await run({ ...oneStepConfig, num_epochs: 3, resume_from });
      expect(metrics.map(({ globalStep }) => globalStep)).toEqual([2]);
      expect((await lines()).map(({ global_step }) => global_step)).toEqual([0, 1, 2]);
      await rm(join(out, 'checkpoints/checkpoint_3'), { recursive: true });
    }
  });

  it('continues in another folder, and warns when no steps are left', async () => {
    await run({ ...oneStepConfig, num_epochs: 2 });
    const other = join(out, 'other');
    const { metrics } = await run({ ...oneStepConfig, num_epochs: 3, resume_from: out, output_dir: other });
    expect(metrics).toHaveLength(1);
    expect(await readdir(join(other, 'checkpoints'))).toEqual(['checkpoint_3']);
    const warnings: string[] = [];
    const done = tinyTrainer({
      pipeline,
      config: { ...oneStepConfig, num_epochs: 3, resume_from: other },
      logger: { info: () => {}, warn: (message) => void warnings.push(message) },
    });
    expect(await collect(done)).toEqual([]);
    expect(warnings.join()).toMatch(/Nothing to train: the checkpoint has 3 steps, num_epochs is 3/);
    done.dispose();
  });

  it('names the wrong field of state.json', async () => {
    await run({ ...oneStepConfig, num_epochs: 1 });
    let name = '';
    await editState((state) => {
      [name = ''] = Object.keys(state.generators);
      return { ...state, generators: { ...state.generators, [name]: 'wrong' } };
    });
    await expect(run({ ...oneStepConfig, num_epochs: 2, resume_from: out })).rejects.toThrow(
      new RegExp(`state\\.json: generators\\.${name}(\\.\\w+)*: `),
    );
  });

  it('refuses a folder without checkpoints, and a checkpoint of another adapter', async () => {
    await expect(run({ ...oneStepConfig, resume_from: join(out, 'nowhere') })).rejects.toThrow(
      /resume_from: no checkpoint in '.*nowhere'/,
    );
    await run({ ...oneStepConfig, num_epochs: 1 });
    const resume = { ...oneStepConfig, num_epochs: 2, resume_from: out };
    await expect(run({ ...resume, lora_rank: 2, lora_alpha: 2, lora_target_modules: ['to_q'] })).rejects.toThrow(
      /^resume_from: lora_rank got 2, expected 4; lora_alpha got 2, expected 4; lora_target_modules got \["to_q"\], /,
    );
    await claim({ lora_rank: 2 });
    await expect(run({ ...resume, lora_rank: 2 })).rejects.toThrow(
      new RegExp(
        'pytorch_lora_weights\\.safetensors: it was written for another adapter or model: ' +
          '.* has shape \\[4, 16\\], expected \\[2, 16\\].* and \\d+ more',
      ),
    );
    await claim({ lora_rank: 4, lora_target_modules: ['to_q'] });
    await expect(run({ ...resume, lora_target_modules: ['to_q'] })).rejects.toThrow(
      /belongs to nothing that is trained/,
    );
  });
});

describe('the run folder', () => {
  it('T9: has a checkpoint every save_freq epochs and of the last one, at most num_checkpoint_limit', async () => {
    await run({ ...oneStepConfig, num_epochs: 5, save_freq: 2, num_checkpoint_limit: 2 });
    expect(await checkpoints()).toEqual(['checkpoint_4', 'checkpoint_5']);
    expect((await readdir(join(out, 'checkpoints/checkpoint_5'))).sort()).toEqual([
      'SHA256SUMS',
      'optimizer.safetensors',
      'pytorch_lora_weights.safetensors',
      'state.json',
    ]);
    expect((await readdir(out)).sort()).toEqual([
      'checkpoints',
      'config.json',
      'metrics.jsonl',
      'pytorch_lora_weights.safetensors',
      'run.json',
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
    const config = JSON.parse(await readFile(join(out, 'config.json'), 'utf8')) as Record<string, unknown>;
    expect(config).toMatchObject({ num_epochs: 5, save_freq: 2, train_learning_rate: 1e-3 });
    for (const once of ['resume_from', 'overwrite_output_dir']) expect(config).not.toHaveProperty(once);
    const manifest = JSON.parse(await readFile(join(out, 'run.json'), 'utf8')) as Record<string, unknown>;
    expect(manifest).toEqual({ version: 1, algorithm: 'alignprop', kind: 'alignprop', config });
    const state = await readFile(join(out, 'checkpoints/checkpoint_5/state.json'), 'utf8');
    expect(JSON.parse(state)).toMatchObject({ manifest });
  });

  it('T5: has an adapter that loads, and draws what the trainer draws', async () => {
    const trainer = tinyTrainer({ pipeline, config: { ...oneStepConfig, output_dir: out, train_learning_rate: 0.1 } });
    await collect(trainer);
    const params = await applyLora(pipeline.unet.params, await loadLora(join(out, 'pytorch_lora_weights.safetensors')));
    const loaded = trainer.pipeline.with({ unet: pipeline.unet.withParams(params) });
    expect(await drawnValues(loaded)).toEqual(await drawnValues(trainer.pipeline));
    expect(await drawnValues(loaded)).not.toEqual(await drawnValues(trainer.pipeline.with({ unet: pipeline.unet })));
    dispose(loraTensors(params));
    trainer.dispose();
  });

  it('is refused if it has the checkpoints of another run, unless overwrite_output_dir is set', async () => {
    await run({ ...oneStepConfig, num_epochs: 2 });
    await expect(run({ ...oneStepConfig, num_epochs: 1 })).rejects.toThrow(
      new RegExp(
        'already holds checkpoint_1, checkpoint_2, pytorch_lora_weights.safetensors, metrics.jsonl of another run' +
          '.*resume_from.*overwrite_output_dir',
      ),
    );
    await expect(
      run({ ...oneStepConfig, num_epochs: 3, resume_from: join(out, 'checkpoints/checkpoint_1') }),
    ).rejects.toThrow(/already holds checkpoint_2 beyond step 1/);
    await mkdir(join(out, 'best'));
    await run({ ...oneStepConfig, num_epochs: 1, overwrite_output_dir: true });
    expect(await checkpoints()).toEqual(['checkpoint_1']);
    expect(await lines()).toHaveLength(1);
    expect(await readdir(out)).not.toContain('best');
    const aside = `${out}.old-1`;
    expect(await readdir(join(aside, 'checkpoints'))).toEqual(['checkpoint_1', 'checkpoint_2']);
    expect(await readdir(aside)).toEqual(expect.arrayContaining(['best', 'metrics.jsonl', 'run.json']));
    await rm(aside, { recursive: true });
  });

  it('fails before the first step where it cannot be written', async () => {
    await writeFile(join(out, 'file'), '');
    let promptCount = 0;
    const trainer = tinyTrainer({
      pipeline,
      promptFunction: () => (promptCount++, 'cat'),
      config: { ...oneStepConfig, output_dir: join(out, 'file', 'inside') },
    });
    await expect(collect(trainer)).rejects.toThrow(/output_dir: cannot write to .*inside: ENOTDIR/);
    expect(promptCount).toBe(0);
    trainer.dispose();
  });

  it('is output_dir, project_dir or logdir/run_name; without one nothing is written', async () => {
    const trainer = tinyTrainer({ pipeline, config: { ...oneStepConfig, num_epochs: 1 } });
    await collect(trainer);
    await expect(trainer.saveCheckpoint()).rejects.toThrow(/Set output_dir/);
    trainer.dispose();
    await run({ ...oneStepConfig, num_epochs: 1, output_dir: '', logdir: out, run_name: 'named' });
    await run({
      ...oneStepConfig,
      num_epochs: 1,
      output_dir: '',
      project_kwargs: { project_dir: join(out, 'project') },
    });
    expect((await readdir(out)).sort()).toEqual(['named', 'project']);
  });
});

describe('stopping', () => {
  it('within a step writes a checkpoint of the last complete step, from which resuming is exact', async () => {
    const straight = await run({ ...busy, num_epochs: 3, output_dir: '' });
    const controller = new AbortController();
    const tensors = memory().numTensors;
    const trainer = tinyTrainer({ pipeline, config: { ...busy, num_epochs: 3, save_freq: 100, output_dir: out } });
    const metrics = [];
    for await (const { seconds: _, ...step } of trainer.train({ signal: controller.signal })) {
      metrics.push(step);
      setTimeout(() => controller.abort(), 1); // in the second step
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

  it('by leaving the loop writes a checkpoint and the adapter, and train() can continue', async () => {
    const trainer = tinyTrainer({
      pipeline,
      config: { ...oneStepConfig, num_epochs: 4, save_freq: 100, output_dir: out },
    });
    for await (const { globalStep } of trainer.train()) if (globalStep === 1) break;
    expect(await checkpoints()).toEqual(['checkpoint_2']);
    expect(await readdir(out)).toContain('pytorch_lora_weights.safetensors');
    expect((await collect(trainer)).map(({ globalStep }) => globalStep)).toEqual([2, 3]);
    expect(await lines()).toHaveLength(4);
    trainer.dispose();
  });
});
