import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { add, max, mean, mul, round, sqrt, sub, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { createEngine, type Engine } from '@alignprop/autograd-ext';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import type { UserReward } from '../options/reward-file.js';
import { run } from '../program.js';
import { rewardChecks } from './reward-checks.js';
import { rewardTemplate } from './reward-template.js';

const printed = captureOutput();
const folder = temporaryFolder();
const path = (name: string): string => join(folder, name);

describe('alignprop reward new', () => {
  it.each(['mine.mjs', 'mine.js', 'mine.ts'])('writes %s, and leaves a file that exists', async (name) => {
    expect(await run(['reward', 'new', path(name)])).toBe(0);
    expect(printed.stdout).toContain(`alignprop reward check ${path(name)}`);
    const text = readFileSync(path(name), 'utf8');
    expect(text).toBe(rewardTemplate(name));
    expect(text.includes('import type')).toBe(name.endsWith('ts'));
    writeFileSync(path(name), 'changed');
    expect(await run(['reward', 'new', path(name)])).toBe(2);
    expect(printed.stderr).toContain('exists already, expected a new name. Nothing was written.');
    expect(readFileSync(path(name), 'utf8')).toBe('changed');
  });

  it('refuses a name that is no module', async () => {
    expect(await run(['reward', 'new', path('mine.py')])).toBe(2);
    expect(printed.stderr).toMatch(/got '.*mine\.py', expected a name that ends in \.mjs, \.js or \.ts\./);
  });
});

describe('alignprop reward check', () => {
  it('passes the template, of which every check is a line', async () => {
    const tfjs = import.meta.resolve('@tensorflow/tfjs-core');
    writeFileSync(path('template.mjs'), rewardTemplate('template.mjs').replace('@tensorflow/tfjs-core', tfjs));
    expect(await run(['reward', 'check', path('template.mjs'), '--height', '16', '--width', '16'])).toBe(0);
    const lines = printed.stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.split(/ {2,}/).slice(0, 2));
    const names = ['scores', 'range', 'repetition', 'batch', 'gradient', 'compilation', 'speed'];
    expect(lines).toEqual(names.map((name) => [name, 'ok']));
  });

  it('exits with 1 if a check fails, and prints objects with --json', async () => {
    writeFileSync(path('three.mjs'), 'export default (images) => [1, 2];');
    expect(await run(['reward', 'check', path('three.mjs'), '--json'])).toBe(1);
    expect(JSON.parse(printed.stdout)).toMatchObject({ event: 'check', name: 'scores', status: 'failed' });
    expect(printed.stderr).toMatch(/1 of 1 checks of '.*three\.mjs' failed/);
  });
});

describe('rewardChecks', () => {
  let engine: Engine;
  beforeAll(async () => void (engine = await createEngine()));
  const brightness = (images: Tensor4D): Tensor => mean(images, [1, 2, 3]);
  let calls = 0;

  /** Rewards, and the checks of them that are not 'ok'. */
  const rewards: readonly (readonly [name: string, reward: unknown, found: Record<string, [string, RegExp]>])[] = [
    ['a good one', brightness, {}],
    ['one of another shape', (x: Tensor4D) => mean(x), { scores: ['failed', /returned a tensor of shape \[\]/] }],
    [
      'one that depends on the batch',
      (x: Tensor4D) => sub(brightness(x), max(brightness(x))),
      { batch: ['failed', /image \d scores .* in a batch, 0 alone/], gradient: ['failed', /zero for random images/] },
    ],
    [
      'one that counts its calls',
      (x: Tensor4D) => add(mul(brightness(x), 0.01), calls++),
      {
        repetition: ['failed', /the same image scored .*, then /],
        batch: ['failed', /alone/],
        gradient: ['failed', /./],
      },
    ],
    [
      'one on a schedule',
      (x: Tensor4D, _p: unknown, _m: unknown, { step }: { step: number }) => add(brightness(x), step),
      { repetition: ['note', /changes with context\.step/] },
    ],
    [
      'one with an infinite slope on black',
      (x: Tensor4D) => sqrt(brightness(x)),
      { gradient: ['failed', /a slope of a black image is (Infinity|NaN)/] },
    ],
    ['one that rounds', (x: Tensor4D) => round(brightness(x)), { gradient: ['note', /^none: for 'alignprop score'/] }],
    ['an async one', async (x: Tensor4D) => brightness(x), { gradient: ['note', /^none/] }],
    [
      'one that reads prompts',
      (x: Tensor4D, prompts: string[]) => add(brightness(x), prompts[0]!.length),
      { batch: ['failed', /image 1/] },
    ],
  ];
  it.each(rewards)('judges %s', async (_name, reward, found) => {
    const results: Record<string, [string, string]> = {};
    const options = { engine, height: 8, width: 8, prompts: ['a crab', 'fox'] };
    for await (const { name, status, detail } of rewardChecks(reward as UserReward, options))
      if (status !== 'ok') results[name] = [status, detail];
    expect(Object.keys(results)).toEqual(Object.keys(found));
    for (const [name, [status, detail]] of Object.entries(found)) {
      expect(results[name]![0]).toBe(status);
      expect(results[name]![1]).toMatch(detail);
    }
  });
});
