import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as wait } from 'node:timers/promises';

/** Ports that Slurm's default installation does not use. */
const ports = { slurmctld: 26817, slurmd: 26818 };

/** The end of a job: its status, and the output of its processes. */
export interface JobResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A cluster of Slurm whose one node is this machine: munged, slurmctld and slurmd, with all files in a folder. */
export class Cluster {
  readonly folder = mkdtempSync(join(tmpdir(), 'alignprop-slurm-'));
  readonly #config = join(this.folder, 'slurm.conf');
  readonly #daemons: { readonly name: string; readonly process: ChildProcess }[] = [];

  /** Starts the daemons, and waits until the node is idle. @throws if it is not within a minute, with their logs */
  async start(): Promise<void> {
    const { folder } = this;
    chmodSync(folder, 0o755); // munged refuses folders that others may write to
    for (const name of ['state', 'spool']) mkdirSync(join(folder, name));
    writeFileSync(join(folder, 'munge.key'), crypto.getRandomValues(new Uint8Array(1024)), { mode: 0o600 });
    writeFileSync(this.#config, slurmConf(folder));
    const files = { 'key-file': 'munge.key', 'pid-file': 'munged.pid', 'seed-file': 'munged.seed', socket: 'munge' };
    const mungeFlags = Object.entries(files).map(([flag, name]) => `--${flag}=${join(folder, name)}`);
    this.#startDaemon('munged', ['--foreground', '--force', ...mungeFlags]);
    this.#startDaemon('slurmctld', ['-D', '-f', this.#config]);
    this.#startDaemon('slurmd', ['-D', '-f', this.#config, '-N', 'localnode']);
    for (const end = Date.now() + 60_000; Date.now() < end; await wait(500)) if (this.#nodeState() === 'idle') return;
    throw new Error(
      `slurm-check: the node got state '${this.#nodeState()}' for a minute, expected idle.\n${this.#logs()}`,
    );
  }

  /** Runs a program in a folder as two tasks that PMIx connects. @param flags more flags of srun */
  async srun(program: readonly string[], cwd: string, flags: readonly string[] = []): Promise<JobResult> {
    const args = ['-n', '2', '--mpi=pmix', '--time=5', ...flags, ...program];
    const child = spawn('srun', args, { cwd, env: this.#env, stdio: ['ignore', 'pipe', 'pipe'] });
    const [stdout, stderr, [code]] = await Promise.all([
      text(child.stdout),
      text(child.stderr),
      once(child, 'close') as Promise<[number | null]>,
    ]);
    return { code, stdout, stderr };
  }

  /** Ends the daemons, the last one first, and removes the folder. */
  async stop(): Promise<void> {
    for (const { process } of this.#daemons.reverse()) {
      if (process.exitCode !== null) continue;
      const closed = once(process, 'close');
      process.kill('SIGTERM');
      await closed;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  get #env(): NodeJS.ProcessEnv {
    return { ...process.env, SLURM_CONF: this.#config };
  }

  #startDaemon(name: string, args: readonly string[]): void {
    this.#daemons.push({ name, process: spawn(name, args, { stdio: 'ignore', env: this.#env }) });
  }

  /** The node's state; empty while slurmctld does not answer. */
  #nodeState(): string {
    try {
      return execFileSync('sinfo', ['-h', '-o', '%t'], { env: this.#env, encoding: 'utf8', stdio: 'pipe' }).trim();
    } catch {
      return '';
    }
  }

  #logs(): string {
    const ended = this.#daemons.filter(({ process }) => process.exitCode !== null).map(({ name }) => `${name} ended`);
    const logs = ['slurmctld', 'slurmd'].map((name) => readFileSync(join(this.folder, `${name}.log`), 'utf8'));
    return [...ended, ...logs.map((log) => log.slice(-3000))].join('\n');
  }
}

/** Takes nothing from the machine's own Slurm: another name, other ports and files, and no cgroups. */
const slurmConf = (folder: string): string => `
ClusterName=alignprop
SlurmctldHost=${hostname()}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=${join(folder, 'munge')}
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
ReturnToService=2
StateSaveLocation=${join(folder, 'state')}
SlurmdSpoolDir=${join(folder, 'spool')}
SlurmctldPidFile=${join(folder, 'slurmctld.pid')}
SlurmdPidFile=${join(folder, 'slurmd.pid')}
SlurmctldLogFile=${join(folder, 'slurmctld.log')}
SlurmdLogFile=${join(folder, 'slurmd.log')}
SlurmctldPort=${ports.slurmctld}
SlurmdPort=${ports.slurmd}
NodeName=localnode NodeHostname=${hostname()} NodeAddr=127.0.0.1 CPUs=${cpus().length} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
`;
