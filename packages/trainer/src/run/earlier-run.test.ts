import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { silent } from '../logger.js';
import { checkRunFolder, prepareRunFolder, runFolder, type RunStart } from './folder.js';
import { createManifest } from './manifest.js';
import { cardMark } from './published-files.js';

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
  ...[
    'config.json',
    'metrics.jsonl',
    'evaluations.jsonl',
    'best/a',
    'samples/a.png',
    'trl/events.out.tfevents.1',
    'prompts.csv',
  ],
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

  it.each([
    ['metrics.jsonl'],
    ['evaluations.jsonl'],
    ['best/pytorch_lora_weights.safetensors'],
    ['samples/step-1.png'],
    ['evaluations/step-1.png'],
    ['my-project/events.out.tfevents.1.host.1.0'],
    ['before-after.png'],
    ['pictures/1.png'],
    ['checkpoints/checkpoint_1.damaged/state.json'],
  ])('is refused if it holds %s; a run that begins anew moves that aside and keeps its settings', async (file) => {
    const settings = start(false).manifest;
    await lay(file);
    await writeFile(join(out, 'run.json'), JSON.stringify(settings));
    const name = file.replace('checkpoints/', '').split('/')[0]!;
    await expect(prepare(start(false))).rejects.toThrow(`already holds ${name} of another run`);
    expect(await readFile(join(out, file), 'utf8')).toBe(file);
    await prepare(start(false, { isBegunAnew: true }));
    expect((await readdir(out)).sort()).toEqual(['checkpoints', 'config.json', 'run.json']);
    expect(await readFile(join(`${out}.old-1`, file), 'utf8')).toBe(file);
    expect(JSON.parse(await readFile(`${out}.old-1/run.json`, 'utf8'))).toEqual(settings);
  });

  it('with a model card is moved aside with it; another README.md is refused, and stays', async () => {
    await lay(...finished);
    await writeFile(join(out, 'README.md'), `---\n---\n${cardMark} for me/x. -->\n`);
    await prepare(start(true));
    expect(await readdir(`${out}.old-1`)).toContain('README.md');
    await lay('checkpoints/checkpoint_1/state.json', 'README.md');
    await expect(prepare(start(true))).rejects.toThrow(/holds README\.md, expected the files of a run alone/);
  });

  it('is refused if it holds the weights of an ended run without checkpoint, also if a run begins anew', async () => {
    await lay('pytorch_lora_weights.safetensors', 'metrics.jsonl');
    await expect(prepare(start(false, { isBegunAnew: true }))).rejects.toThrow(/already holds pytorch_.*no checkpoint/);
    await prepare(start(true, { isBegunAnew: true }));
    expect((await readdir(`${out}.old-1`)).sort()).toEqual(['metrics.jsonl', 'pytorch_lora_weights.safetensors']);
  });

  it('with settings alone is used by the same run, and moved aside by another, without files of users', async () => {
    await lay('notes.txt');
    await prepare(start(false));
    await prepare(start(false));
    await expect(readdir(`${out}.old-1`)).rejects.toThrow('ENOENT');
    await prepare({ ...start(false), manifest: createManifest('alignprop', { seed: 1 }) });
    expect((await readdir(`${out}.old-1`)).sort()).toEqual(['checkpoints', 'config.json', 'run.json']);
    expect((await readdir(out)).sort()).toEqual(['checkpoints', 'config.json', 'notes.txt', 'run.json']);
  });

  it('is refused if a part of it cannot be told to be absent: a link to a disk that is missing', async () => {
    await symlink('nowhere', join(out, 'checkpoints'));
    for (const run of [start(false), start(true), start(false, { isBegunAnew: true })])
      await expect(prepare(run)).rejects.toThrow(/checkpoints is a link to what is not there.*Mount its disk/);
  });

  it('is used where a link leads to a folder that is there', async () => {
    await mkdir(`${out}-disk/checkpoint_1`, { recursive: true });
    await symlink(`${out}-disk`, join(out, 'checkpoints'));
    await expect(prepare(start(false))).rejects.toThrow(/already holds checkpoint_1 of another/);
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
