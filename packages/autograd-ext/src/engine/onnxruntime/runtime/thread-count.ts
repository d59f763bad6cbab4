import { ifPresent } from '../../../if-present.js';

/**
 * The number of threads of a session where none is given: the environment's OMP_NUM_THREADS, as PyTorch takes it, or
 * the physical cores that this process may use. Linux is asked, as ONNX Runtime, which asks the processor, counts one
 * core on some virtual machines.
 * @returns undefined where the system does not tell; ONNX Runtime then counts
 */
export async function threadCount(): Promise<number | undefined> {
  const given = Number.parseInt(process.env.OMP_NUM_THREADS ?? '', 10);
  if (given > 0) return given;
  if (process.platform !== 'linux') return undefined;
  const { availableParallelism, cpus } = await import('node:os');
  cores ??= physicalCores();
  return Math.min(availableParallelism(), (await cores) ?? cpus().length);
}

/** The cores of the machine, counted for the first session. */
let cores: Promise<number | undefined> | undefined;

const topology = '/sys/devices/system/cpu';

/** Counts the cores of the machine: the logical processors of one core have the same siblings. */
async function physicalCores(): Promise<number | undefined> {
  const { readdir, readFile } = await import('node:fs/promises');
  const names = ((await ifPresent(readdir(topology))) ?? []).filter((name) => /^cpu\d+$/.test(name));
  // A processor that is offline has no siblings.
  const siblingsOf = (name: string) => readFile(`${topology}/${name}/topology/thread_siblings_list`, 'utf8');
  const siblings = await Promise.all(names.map((name) => ifPresent(siblingsOf(name))));
  return new Set(siblings.filter((list) => list !== undefined)).size || undefined;
}
