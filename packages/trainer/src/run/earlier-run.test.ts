import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { silent } from '../logger.js';
import { checkRunFolder, prepareRunFolder, runFolder, type RunStart } from './folder.js';
import { createManifest } from './manifest.js';

const parent = temporaryFolder();
let out: string;
beforeEach(async () => void (out = await mkdtemp(join(parent, 'run-'))));

/** Lays files with their names as contents into the folder. */
async function lay(...names: string[]): Promise<void> {
  for (const name of names) {
    await mkdir(join(out, name, '..'), { recursive: true });
    await writeFile(join(out, name), name);
  }
}

const folder = () => runFolder({ output_dir: out, project_kwargs: {}, logdir: '', run_name: '' })!;
const start = (overwrite_output_dir: boolean, more: Partial<RunStart> = {}, kind?: string): RunStart => ({
  config: { overwrite_output_dir },
  manifest: createManifest('alignprop', {}, { kind }),
  ...more,
});
const prepare = (run: RunStart, files = {}) => prepareRunFolder(folder(), run, files, silent);
const finished = [
  ...['config.json', 'metrics.jsonl', 'evaluations.jsonl', 'best/a', 'samples/a.png', 'trl/events', 'prompts.csv'],
  ...['checkpoints/checkpoint_1/state.json', 'checkpoints/checkpoint_2/state.json', 'run.lock/1.json'],
];
const fresh = ['checkpoints', 'config.json', 'run.json', 'run.lock'];

describe('the folder of an earlier run', () => {
  it('is moved aside with overwrite_output_dir, except for its lock, to the next number that is free', async () => {
    await mkdir(`${out}.old-1`);
    await lay(...finished);
    await prepare(start(true), { 'prompts.txt': new TextEncoder().encode('crab') });
    expect((await readdir(out)).sort()).toEqual([...fresh, 'prompts.txt'].sort());
    expect((await readdir(`${out}.old-2`)).sort()).toEqual([
      'best',
      'checkpoints',
      'config.json',
      'evaluations.jsonl',
      'metrics.jsonl',
      'prompts.csv',
      'samples',
      'trl',
    ]);
    expect(await readFile(`${out}.old-2/best/a`, 'utf8')).toBe('best/a');
  });

  it('is refused without overwrite_output_dir if it has checkpoints or weights', async () => {
    await lay('checkpoints/checkpoint_3/state.json');
    await expect(prepare(start(false))).rejects.toThrow(/already holds checkpoint_3 of another run/);
    await rm(join(out, 'checkpoints'), { recursive: true });
    await lay('pytorch_lora_weights.safetensors');
    await expect(prepare(start(false))).rejects.toThrow(/already holds pytorch_lora_weights\.safetensors of another/);
  });

  it('is moved aside if the run was killed before its first checkpoint, unless that run begins anew', async () => {
    await lay('metrics.jsonl', 'best/a');
    await prepare(start(false, { isBegunAnew: true }));
    expect(await readdir(out)).toContain('best');
    await prepare(start(false));
    expect(await readdir(out)).not.toContain('best');
    expect((await readdir(`${out}.old-1`)).sort()).toContain('metrics.jsonl');
  });

  it('keeps the checkpoints beyond the one that is resumed from in another folder', async () => {
    await lay(...finished);
    const resumed = { resumedStep: 1 };
    await expect(prepare(start(false, resumed))).rejects.toThrow(/already holds checkpoint_2 beyond step 1/);
    await prepare(start(true, resumed));
    expect(await readdir(join(out, 'checkpoints'))).toEqual(['checkpoint_1']);
    expect(await readdir(`${out}.old-1/checkpoints`)).toEqual(['checkpoint_2']);
    expect(await readFile(`${out}.old-1/metrics.jsonl`, 'utf8')).toBe('metrics.jsonl');
  });

  it('is refused if it holds a run of another kind, or files that no run writes', async () => {
    await lay('metrics.jsonl');
    await expect(checkRunFolder(folder(), start(true, {}, 'demo'))).rejects.toThrow(
      `overwrite_output_dir: ${out} holds a run of the kind 'unknown', expected 'demo'.`,
    );
    await writeFile(join(out, 'run.json'), JSON.stringify(start(true, {}, 'demo').manifest));
    await checkRunFolder(folder(), start(true, {}, 'demo'));
    await expect(checkRunFolder(folder(), start(true))).rejects.toThrow(
      /a run of the kind 'demo', expected 'alignprop'/,
    );
    await lay('holiday.jpg');
    await expect(checkRunFolder(folder(), start(true, {}, 'demo'))).rejects.toThrow(/holds holiday\.jpg, expected the/);
    await writeFile(join(out, 'run.json'), '{}');
    await expect(checkRunFolder(folder(), start(true))).rejects.toThrow(/^run\.json: .* is not the manifest of a run/);
  });
});
