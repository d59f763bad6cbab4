// Every operation on files of the start of a run fails once: no file of an earlier run is lost, and the next start
// succeeds. Each fails with one error by default, with all that EVERY_FAULT names otherwise.
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { expect, it } from 'vitest';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { faultCodes, faultyDisk, listOperations, requestedFaults } from '../__fixtures__/failing-disk.js';
import { silent } from '../logger.js';
import { claimRunFolder, prepareRunFolder, runFolder, type RunStart } from '../run/folder.js';
import { createManifest } from '../run/manifest.js';

const parent = temporaryFolder();
const manifest = createManifest('alignprop', { seed: 1 });
const otherManifest = JSON.stringify(createManifest('alignprop', { seed: 2 }));
const run = ['metrics.jsonl', 'best/a', 'samples/1.png', 'trl/events.out.tfevents.1', 'prompts.csv', 'config.json'];
const checkpoints = [1, 2].map((step) => `checkpoints/checkpoint_${step}/state.json`);

interface Case {
  readonly name: string;
  /** Files in the folder before, with their names as contents; run.json is that of another run. */
  readonly before: readonly string[];
  readonly start: (folder: string) => Partial<RunStart>;
  /** Files in the folder after it, besides config.json and run.json. */
  readonly after: readonly string[];
}

const cases: readonly Case[] = [
  { name: 'in a new folder', before: [], start: () => ({}), after: [] },
  {
    name: 'that moves an ended run aside',
    before: [...run, ...checkpoints, 'run.json', 'pytorch_lora_weights.safetensors', 'before-after.png'],
    start: () => ({ config: { overwrite_output_dir: true } }),
    after: [],
  },
  {
    name: 'that begins anew',
    before: [...run, 'run.json'],
    start: () => ({ isBegunAnew: true }),
    after: ['prompts.csv'],
  },
  {
    name: 'where a run left settings alone',
    before: ['config.json', 'run.json', 'prompts.csv'],
    start: () => ({}),
    after: [],
  },
  {
    name: 'that goes back to an earlier checkpoint',
    before: [...run, ...checkpoints, 'run.json'],
    start: () => ({ config: { overwrite_output_dir: true }, resumedStep: 1 }),
    after: [...run, checkpoints[0]!],
  },
  {
    name: 'that goes on from the checkpoint before a damaged one',
    before: [...run, ...checkpoints],
    start: (folder) => ({ resumedStep: 1, damaged: [`${folder}/checkpoints/checkpoint_2`] }),
    after: [...run, checkpoints[0]!, 'checkpoints/checkpoint_2.damaged/state.json'],
  },
];

async function lay(folder: string, names: readonly string[]): Promise<void> {
  for (const name of names) {
    await mkdir(join(folder, name, '..'), { recursive: true });
    await writeFile(join(folder, name), name === 'run.json' ? otherManifest : name);
  }
}

/** The start of a case; the second time, a damaged checkpoint may have its new name. */
async function startOf({ start }: Case, path: string): Promise<Partial<RunStart>> {
  const left = await readdir(join(path, 'checkpoints')).catch(() => [] as string[]);
  const { damaged, ...others } = start(path);
  return { ...others, damaged: damaged?.filter((checkpoint) => left.includes(basename(checkpoint))) };
}

async function begin(path: string, start: Partial<RunStart>): Promise<void> {
  const folder = runFolder({ output_dir: path, project_kwargs: {}, logdir: '', run_name: '' })!;
  const lock = await claimRunFolder(folder, silent);
  try {
    const given = { config: { overwrite_output_dir: false }, manifest, ...start };
    await prepareRunFolder(folder, given, {}, silent);
  } finally {
    await lock.release();
  }
}

/** Files below the folders whose names begin with a path, by path. */
async function filesAt(path: string): Promise<Record<string, string>> {
  const names = (await readdir(parent)).filter((name) => name.startsWith(basename(path)));
  const files: Record<string, string> = {};
  for (const name of names)
    for (const entry of await readdir(join(parent, name), { recursive: true, withFileTypes: true }))
      if (entry.isFile()) {
        const file = join(entry.parentPath, entry.name);
        files[file.slice(parent.length + 1)] = await readFile(file, 'utf8');
      }
  return files;
}

it.each(cases)('a start $name loses no file, whichever operation fails', async (tested) => {
  const { name, before, after } = tested;
  const create = async () => {
    const path = await mkdtemp(join(parent, 'run-'));
    await lay(path, before);
    return path;
  };
  const counted = await create();
  const start = await startOf(tested, counted);
  const { length: operations } = await listOperations(counted, () => begin(counted, start));
  const isResumed = start.resumedStep !== undefined;
  const kept = before.filter((file) => !isResumed || !['config.json', 'run.json'].includes(file));
  let [points, failed] = [0, 0];
  for (let n = 1; n <= operations; n++)
    for (const code of requestedFaults.length > 0 ? requestedFaults : [faultCodes[n % faultCodes.length]!]) {
      points++;
      const path = await create();
      const first = await startOf(tested, path);
      const fault = faultyDisk(path, n, code);
      const error = await begin(path, first)
        .then(
          () => undefined,
          (caught: unknown) => caught as Error,
        )
        .finally(fault.end);
      const place = `${code} in operation ${n} of ${operations}, ${fault.operation}`;
      if (error) {
        failed++;
        expect(error.message, place).toContain(code);
        const contents = Object.values(await filesAt(path));
        for (const file of kept) expect(contents, place).toContain(file === 'run.json' ? otherManifest : file);
        await rm(join(path, 'run.lock'), { recursive: true, force: true }); // as if the process had ended
        await begin(path, await startOf(tested, path));
      }
      const files = await filesAt(path);
      for (const file of kept)
        expect(Object.values(files), place).toContain(file === 'run.json' ? otherManifest : file);
      const own = Object.keys(files).filter((file) => file.startsWith(`${basename(path)}/`));
      const wanted = [...new Set([...after, 'config.json', 'run.json'])].map((file) => `${basename(path)}/${file}`);
      expect(own.sort(), place).toEqual(wanted.sort());
      for (const folder of (await readdir(parent)).filter((other) => other.startsWith(basename(path))))
        await rm(join(parent, folder), { recursive: true });
    }
  process.stdout.write(`a start ${name}: ${JSON.stringify({ operations, points, failed, lost: 0 })}\n`);
  expect(failed).toBeGreaterThan(points / 2);
});
