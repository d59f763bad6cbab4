import { ifPresent } from '@alignprop/autograd-ext/weights';
import { parseJson } from '@alignprop/autograd-ext/outside';
import { evaluationRecord, metricsRecord } from '../metrics.js';
import type { SampleDetails, Tracker } from '../tracker.js';
import { randomId, writeImages, writeTable } from './media.js';
import {
  encodeRecord,
  environmentRecord,
  exitRecord,
  footerRecord,
  headerRecord,
  historyRecord,
  runRecord,
  summaryRecord,
  type Environment,
  type RecordContent,
  type RunDescription,
} from './record.js';
import { createRecordLog } from './record-log.js';

/** The run as W&B names it. Names are those of `wandb.init`. */
export interface WandbRun {
  readonly project: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly entity?: string;
  readonly name?: string;
  readonly group?: string;
  readonly job_type?: string;
  readonly notes?: string;
  readonly tags?: readonly string[];
  /** The id of the run; by default the one in `idFile`, or a new one. */
  readonly id?: string;
}

export interface WandbFiles {
  /** The folder in which `wandb/offline-run-<time>-<id>` is created. */
  readonly dir: string;
  /** Remembers the id, so that a resumed run goes on in the same run of W&B. */
  readonly idFile?: string;
  /** Optimizer steps taken before this start of the run; with 0 it gets a new id. */
  readonly fromStep?: number;
}

/** A tracker with the folder that `wandb sync` uploads. */
export interface WandbTracker extends Tracker {
  readonly folder: string;
}

/**
 * Writes a run in W&B's offline format: a folder that `wandb sync` uploads, with the configuration, metrics, images
 * with captions, tables of prompts and rewards, a summary, and the machine. Python is needed only to upload it.
 * @throws if the files cannot be written
 */
export async function wandbTracker(
  options: WandbRun,
  { dir, idFile, fromStep = 0 }: WandbFiles,
): Promise<WandbTracker> {
  const { mkdir } = await import('node:fs/promises');
  const { hostname } = await import('node:os');
  const id = options.id ?? ((fromStep > 0 && idFile && (await readId(idFile))) || randomId(8));
  if (idFile) await writeId(idFile, id);
  const startTime = now();
  const run: RunDescription = { ...options, id, host: hostname(), startingStep: fromStep, startTime };
  const folder = `${dir}/wandb/offline-run-${timeName(new Date())}-${id}`;
  const files = `${folder}/files`;
  await mkdir(files, { recursive: true });
  const log = await createRecordLog(`${folder}/run-${id}.wandb`);
  let number = 0;
  const write = (...contents: RecordContent[]) =>
    log.append(contents.map((content) => encodeRecord(++number, content)));
  const history = createHistory(write, startTime);
  const addSamples =
    (key: string): NonNullable<Tracker['logImages']> =>
    async (images, captions, step, details) => {
      const pictures = await writeImages(files, key, step, images, captions);
      const table = await writeTable(files, `${key}_table`, step, run, tableColumns(captions, details));
      await write(...pictures.records, ...table.records);
      await history.add({ [key]: pictures.value, [`${key}_table`]: table.value }, step);
    };

  await write(headerRecord(), runRecord(run), environmentRecord(await machine(startTime)));
  return {
    folder,
    log(metrics) {
      const { global_step, ...values } = metricsRecord(metrics);
      return history.add(values, global_step!);
    },
    logEvaluation(metrics) {
      const { global_step, ...values } = evaluationRecord(metrics);
      return history.add(values, global_step!);
    },
    logImages: addSamples('images'),
    logEvaluationImages: addSamples('evaluation'),
    async close() {
      await history.flush();
      await write(exitRecord(now() - startTime), footerRecord());
    },
  };
}

/** Joins all that is logged of one step into one row, which is written when the next step begins. */
function createHistory(write: (...contents: RecordContent[]) => Promise<void>, startTime: number) {
  let row: { step: number; values: Record<string, unknown> } | undefined;
  async function flush(): Promise<void> {
    if (!row) return;
    const values = { ...row.values, _timestamp: now(), _runtime: now() - startTime };
    const { step } = row;
    row = undefined;
    await write(summaryRecord({ _step: step, ...values }), historyRecord(values, step));
  }
  async function add(values: Readonly<Record<string, unknown>>, step: number): Promise<void> {
    if (row?.step !== step) await flush();
    row = { step, values: { ...row?.values, ...values } };
  }
  return { add, flush };
}

const tableColumns = (
  captions: readonly string[],
  details?: SampleDetails,
): Readonly<Record<string, readonly (string | number)[]>> =>
  details ? { prompt: details.prompts, reward: details.rewards } : { caption: captions };

const now = (): number => Date.now() / 1000;

/** Local time as `YYYYMMDD_HHMMSS`. */
function timeName(date: Date): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const day = [date.getFullYear(), two(date.getMonth() + 1), two(date.getDate())];
  return `${day.join('')}_${[date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join('')}`;
}

async function machine(startTime: number): Promise<Environment> {
  const { cpus, hostname, platform, release, totalmem } = await import('node:os');
  return {
    os: `${platform()}-${release()}`,
    host: hostname(),
    executable: `${process.execPath} (Node ${process.versions.node})`,
    program: 'alignprop',
    cpuCount: cpus().length,
    memory: totalmem(),
    startTime,
  };
}

async function readId(path: string): Promise<string | undefined> {
  const { readFile } = await import('node:fs/promises');
  const text = await ifPresent(readFile(path, 'utf8'));
  if (text === undefined) return undefined;
  const { run_id: id } = parseJson(text) as { run_id?: unknown };
  if (typeof id !== 'string' || !/^[\w-]+$/.test(id))
    throw new Error(`${path}: got no run_id of letters, digits, _ and -. Delete the file to begin a new run of W&B.`);
  return id;
}

async function writeId(path: string, id: string): Promise<void> {
  const { mkdir, writeFile } = await import('node:fs/promises');
  const { dirname } = await import('node:path');
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `${JSON.stringify({ run_id: id })}\n`);
}
