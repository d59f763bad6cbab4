import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { memory, tensor4d } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { folderPerTest, out } from '../../../../fixtures/folder-per-test.js';
import { stepMetrics } from '../__fixtures__/metrics.js';
import { collect, oneStepConfig, tinyPipeline, tinyTrainer } from '../__fixtures__/tiny-run.js';
import { startTrackioServer, writeToken, type TrackioServer } from '../__fixtures__/trackio-server.js';
import { parseAlignPropConfig, type AlignPropConfigInput } from '../config/config.js';
import { createTracker, createTrackers, trackers, type TrackerName } from './create-trackers.js';
import { jsonlTracker } from './jsonl.js';
import type { TrackedRun, TrackerKind } from './tracker-kind.js';

folderPerTest();

let server: TrackioServer;
beforeAll(async () => {
  await useBackend('wasm');
  server = await startTrackioServer();
});
afterAll(() => server.close());

/** The text of all files below a folder. */
async function textOf(folder: string): Promise<string> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return (await Promise.all(files.map((file) => readFile(file, 'latin1')))).join('');
}

/** How often a text occurs in all files of a folder. */
const count = async (folder: string, text: string) => (await textOf(folder)).split(text).length - 1;

interface Contract {
  /** The output of the tracker as text. */
  readonly output: () => Promise<string>;
  /** `tracker_kwargs` with which it works. */
  readonly kwargs?: () => AlignPropConfigInput['tracker_kwargs'];
  /** `tracker_kwargs` with which it cannot open its files or reach its server; the run's folder cannot be written. */
  readonly brokenKwargs?: AlignPropConfigInput['tracker_kwargs'];
}

/** One entry for each tracker of the table: without it, type checks fail. */
const contracts: Readonly<Record<TrackerName, Contract>> = {
  jsonl: { output: () => textOf(out) },
  tensorboard: { output: () => textOf(join(out, 'trl')) },
  wandb: { output: () => textOf(join(out, 'wandb')) },
  trackio: {
    output: () => Promise.resolve(JSON.stringify(server.posted('/api/bulk_log'))),
    kwargs: () => ({ trackio: { url: `${server.url}?write_token=${writeToken}` } }),
    brokenKwargs: { trackio: { url: 'http://127.0.0.1:1/' } },
  },
};

const trackedRun = (name: TrackerName, folder: string, kwargs: AlignPropConfigInput['tracker_kwargs']): TrackedRun => ({
  config: parseAlignPropConfig({ log_with: name, tracker_kwargs: kwargs }),
  folder: { path: folder, metrics: join(folder, 'metrics.jsonl') },
  fromStep: 0,
  warn: () => {},
  info: () => {},
});

describe.each(Object.keys(trackers) as TrackerName[])('the tracker %s', (name) => {
  const { output, kwargs, brokenKwargs = {} } = contracts[name];

  it('reports steps and evaluations, and leaves images to the caller', async () => {
    const images = tensor4d([1, 0, 0, 0, 0, 1], [1, 1, 2, 3]);
    const before = memory().numTensors;
    const tracker = (await createTracker(name, trackers[name], trackedRun(name, out, kwargs?.())))!;
    await tracker.log(stepMetrics(0));
    await tracker.logImages?.(images, ['a red crab'], 0);
    await tracker.logEvaluation?.({ globalStep: 1, rewardMean: 2, rewardStd: 0, isBest: true, bestStep: 1 });
    await tracker.log(stepMetrics(1));
    await tracker.close();
    const text = await output();
    for (const metric of ['reward_mean', 'grad_norm', 'eval_reward_mean']) expect(text).toContain(metric);
    if (tracker.logImages) expect(text).toContain('a red crab');
    expect(memory().numTensors).toBe(before);
    expect(images.isDisposed).toBe(false);
    images.dispose();
  });

  it('throws when training starts where it cannot write or connect', async () => {
    const file = join(out, 'file');
    await writeFile(file, '');
    const run = trackedRun(name, join(file, 'run'), brokenKwargs);
    await expect(createTracker(name, trackers[name], run)).rejects.toThrow(/ENOTDIR|no Trackio server/);
  });
});

describe('jsonlTracker', () => {
  it('removes a line that was cut off, and tells of a damaged one before, which it leaves', async () => {
    const path = join(out, 'metrics.jsonl');
    const start = async (text: string) => {
      const warnings: string[] = [];
      await writeFile(path, text);
      await jsonlTracker(path, { fromStep: 2, warn: (message) => void warnings.push(message) });
      return { text: await readFile(path, 'utf8'), warnings };
    };
    const row = (step: number) => `{"global_step":${step}}\n`;
    const rows = row(0) + row(1);
    for (const later of ['', '{"global_', `${row(2)}{"glo`, `${row(2)}damaged\n${row(3)}`])
      expect(await start(rows + later)).toEqual({ text: rows, warnings: [] });
    const damaged = `${row(0)}{"global_st${row(1)}null\n{}\n`;
    expect(await start(damaged + row(2))).toEqual({
      text: damaged,
      warnings: [`${path}: line 2, 3, 4 got no JSON with a global_step. It is left as it is.`],
    });
  });
});

describe('createTrackers', () => {
  it('names the package that a tracker needs where it is missing', async () => {
    const missing = Object.assign(new Error("Cannot find package 'nowhere'"), { code: 'ERR_MODULE_NOT_FOUND' });
    const kind: TrackerKind = { description: '', packages: ['nowhere'], create: () => Promise.reject(missing) };
    await expect(createTracker('new', kind, trackedRun('jsonl', out, {}))).rejects.toThrow(
      "log_with: 'new' needs nowhere, which cannot be loaded: Cannot find package 'nowhere'. " +
        'Install it: npm install nowhere',
    );
  });

  it('creates nothing without a folder and log_with', async () => {
    const config = parseAlignPropConfig();
    expect(await createTrackers(config, undefined, { fromStep: 0, warn: () => {}, info: () => {} })).toEqual([]);
  });
});

const quick: AlignPropConfigInput = { ...oneStepConfig, num_epochs: 2 };

describe('log_with', () => {
  it("'tensorboard' writes a file for each start, with images every log_image_freq steps without a hook", async () => {
    const pipeline = await tinyPipeline();
    const train = async (config: AlignPropConfigInput) => {
      const trainer = tinyTrainer({
        pipeline,
        promptFunction: () => 'a red crab',
        config: { ...quick, output_dir: out, log_with: 'tensorboard', log_image_freq: 2, ...config },
      });
      await collect(trainer);
      trainer.dispose();
    };
    await train({});
    const folder = join(out, 'trl');
    expect(await readdir(folder)).toHaveLength(1);
    expect(await count(folder, 'reward_mean')).toBe(3); // two steps, and the HParams page
    expect(await count(folder, '0. a red crab | ')).toBe(1);
    expect(await count(folder, '_hparams_/session_end_info')).toBe(1);
    await train({ num_epochs: 3, resume_from: out, tracker_project_name: 'trl' });
    expect(await readdir(folder)).toHaveLength(2);
    expect(await count(folder, '0. a red crab | ')).toBe(2);
    pipeline.dispose();
  });

  it("'trackio' fails before the first step where no server answers", async () => {
    const pipeline = await tinyPipeline();
    let promptCount = 0;
    const trainer = tinyTrainer({
      pipeline,
      promptFunction: () => (promptCount++, 'cat'),
      config: { ...quick, log_with: 'trackio', tracker_kwargs: { trackio: { url: 'http://127.0.0.1:1/' } } },
    });
    await expect(collect(trainer)).rejects.toThrow(/trackioTracker: no Trackio server at http:\/\/127\.0\.0\.1:1\//);
    expect(promptCount).toBe(0);
    trainer.dispose();
    pipeline.dispose();
  });
});
