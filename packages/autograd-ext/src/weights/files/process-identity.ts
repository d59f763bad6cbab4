/** A process, described so that other processes can tell whether it still runs. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly host: string;
  /** On Linux, the machine, its start, and the namespaces that give `pid` and `began` their meaning. */
  readonly machine?: string;
  readonly boot?: string;
  readonly namespaces?: string;
  /** On Linux, the start of the process in ticks since the machine's, which tells a process from a later one. */
  readonly began?: string;
}

/**
 * The state of a process, as another one sees it:
 * - `running`: it runs
 * - `unverified`: a process of its number runs, and whether that is the same one cannot be read
 * - `gone`: it has ended
 * - `unseen`: it belongs to another machine, start of the machine, or container, so that its number says nothing
 */
export type ProcessState = 'running' | 'unverified' | 'gone' | 'unseen';

/** Describes this process. */
export async function thisProcess(): Promise<ProcessIdentity> {
  const { hostname } = await import('node:os');
  return {
    pid: process.pid,
    host: hostname(),
    machine: (await systemFile('/etc/machine-id'))?.trim(),
    boot: (await systemFile('/proc/sys/kernel/random/boot_id'))?.trim(),
    namespaces: await namespaces(),
    began: (await processStart('self'))?.began,
  };
}

/** Tells the state of a process. */
export async function processState(other: ProcessIdentity): Promise<ProcessState> {
  if (!isNear(other, await thisProcess())) return 'unseen';
  if (!exists(other.pid)) return 'gone';
  const start = await processStart(other.pid);
  if (other.began === undefined || start === undefined) return 'unverified';
  return start.began === other.began && !start.hasEnded ? 'running' : 'gone';
}

/**
 * Whether process numbers of the one process mean the same in the other. Linux tells by boot and namespaces; machines
 * of other systems are known by the names of their hosts.
 */
function isNear(other: ProcessIdentity, here: ProcessIdentity): boolean {
  const isKnown = process.platform !== 'linux' || (here.boot !== undefined && here.namespaces !== undefined);
  const names = ['host', 'machine', 'boot', 'namespaces'] as const;
  return isKnown && names.every((name) => other[name] === here[name]);
}

function exists(pid: number): boolean {
  try {
    return process.kill(pid, 0); // signal 0: only checks that the process exists
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'; // EPERM: the process is another user's
  }
}

/** The namespaces of process numbers and of clocks, by their ids. */
async function namespaces(): Promise<string | undefined> {
  const { readlink } = await import('node:fs/promises');
  const [pid, time] = await Promise.all(
    // eslint-disable-next-line no-restricted-syntax -- what is hidden is no evidence
    ['pid', 'time'].map((kind) => readlink(`/proc/self/ns/${kind}`).catch(() => undefined)),
  );
  return pid && [pid, time].filter(Boolean).join(' '); // kernels before 5.6 have one clock for all
}

/**
 * The start of a process, in ticks since the machine's, and whether it is a zombie. Undefined where /proc is missing,
 * hides the processes of other users, or belongs to another namespace.
 */
async function processStart(pid: number | 'self'): Promise<{ began: string; hasEnded: boolean } | undefined> {
  const [own, stat] = await Promise.all(['self', pid].map((name) => systemFile(`/proc/${name}/stat`)));
  if (!stat || (pid !== 'self' && parseInt(own!) !== process.pid)) return undefined;
  // From field 3 on: field 2, the name, may contain spaces.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[19] === undefined ? undefined : { began: fields[19], hasEnded: ['Z', 'X'].includes(fields[0]!) };
}

/** The contents of a file of the system; undefined where it is missing or may not be read. */
async function systemFile(path: string): Promise<string | undefined> {
  const { readFile } = await import('node:fs/promises');
  // eslint-disable-next-line no-restricted-syntax -- what is hidden is no evidence
  return readFile(path, 'utf8').catch(() => undefined);
}
