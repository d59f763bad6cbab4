import type { FileHandle } from 'node:fs/promises';
import { ifPresent } from '../../if-present.js';
import { syncFile } from '../files/sync-file.js';
import type { FileTarget, HubFile } from './hub-file.js';
import { HubRefusal, hubRequest, HubUnreachableError } from './hub-request.js';
import type { HubSettings } from './hub-settings.js';
import { Retries } from './retries.js';

/**
 * Downloads a file to `incomplete`, checks it and renames it to `blob`. An interrupted download resumes where it
 * stopped: immediately, until five attempts in a row bring no byte, and in a later call if its sha256 is known. A file
 * that is damaged after it was resumed is downloaded again from the beginning, once.
 * @throws if the hub cannot be reached or refuses, if the file's size or sha256 is wrong, or it cannot be written
 */
export async function downloadBlob(
  file: HubFile,
  { incomplete, blob }: { readonly incomplete: string; readonly blob: string },
  settings: HubSettings,
  target: FileTarget,
): Promise<void> {
  const { rename, rm } = await import('node:fs/promises');
  const hasSha256 = /^[0-9a-f]{64}$/.test(file.etag);
  if (!hasSha256) await writing(incomplete, file, () => rm(incomplete, { force: true }));
  for (let isSecond = false; ; isSecond = true) {
    const isResumed = await receiveAll(file, incomplete, settings, target);
    const digest = hasSha256 ? await sha256(incomplete) : file.etag;
    if (digest === file.etag) return writing(blob, file, () => rename(incomplete, blob));
    await rm(incomplete);
    if (!isResumed || isSecond)
      throw new Error(
        `hub: '${target.path}' of '${target.id}' got sha256 ${digest}, expected ${file.etag}: ` +
          'it was damaged on the way. Try again.',
      );
  }
}

/** Downloads what is missing of a file. Returns whether some of it comes from an earlier attempt. */
async function receiveAll(
  file: HubFile,
  incomplete: string,
  settings: HubSettings,
  target: FileTarget,
): Promise<boolean> {
  const retries = new Retries(settings);
  const store = { etag: null as string | null };
  let most = 0;
  for (let isResumed = false; ; isResumed = true) {
    const before = await sizeOf(incomplete);
    if (file.size !== undefined && before === file.size) return true;
    most = Math.max(most, before);
    try {
      await receive(file, incomplete, store, settings, target);
      return isResumed || before > 0;
    } catch (error) {
      if ((await sizeOf(incomplete)) > most) retries.reset();
      await retries.afterFailure(error);
    }
  }
}

/**
 * Downloads a file, or the rest of it, and appends it to `incomplete`.
 * @param store the etag with which the store answered the first request: a file that has changed starts again
 */
async function receive(
  file: HubFile,
  incomplete: string,
  store: { etag: string | null },
  settings: HubSettings,
  target: FileTarget,
): Promise<void> {
  const present = await sizeOf(incomplete);
  const range = present > 0 && present < (file.size ?? Infinity) ? { range: `bytes=${present}-` } : undefined;
  const idle = new IdleTimeout(settings.downloadTimeout);
  const output = await writing(incomplete, file, async () => {
    const { mkdir, open } = await import('node:fs/promises');
    await mkdir((await import('node:path')).dirname(incomplete), { recursive: true });
    return open(incomplete, range ? 'a' : 'w');
  });
  try {
    const headers = { ...range, ...(range && store.etag !== null && { 'if-range': store.etag }) };
    const response = await hubRequest(file.url, settings, target, { headers, signal: idle.signal }).catch(
      async (error: unknown) => {
        if (error instanceof HubRefusal && error.status === 416) await startAgain(output, target, error);
        throw error;
      },
    );
    const start = response.status === 206 ? present : 0;
    if (response.status === 206 && !continues(response, present)) {
      await response.body?.cancel();
      await startAgain(output, target);
    }
    if (start === 0) await output.truncate();
    const etag = response.headers.get('etag');
    store.etag = etag?.startsWith('W/') ? null : etag; // a weak etag does not promise equal bytes
    await save(response, { file, incomplete, output, start, idle }, settings, target);
  } finally {
    idle.stop();
    await output.close();
  }
}

/** Whether a partial answer is the rest of the file from byte `start` on, as it is stored. */
function continues({ headers }: Response, start: number): boolean {
  const isEncoded = (headers.get('content-encoding') ?? 'identity') !== 'identity';
  return !isEncoded && new RegExp(`^bytes ${start}-`).test(headers.get('content-range') ?? '');
}

/** Empties the file. @throws an error after which the download is tried again */
async function startAgain(output: FileHandle, target: FileTarget, cause?: unknown): Promise<never> {
  await output.truncate();
  throw interruptionError(target, cause);
}

interface Reception {
  readonly file: HubFile;
  readonly incomplete: string;
  readonly output: FileHandle;
  /** The position of the answer's first byte in the file. */
  readonly start: number;
  readonly idle: IdleTimeout;
}

async function save(
  response: Response,
  { file, incomplete, output, start, idle }: Reception,
  { progress, signal }: HubSettings,
  target: FileTarget,
): Promise<void> {
  const { id, path } = target;
  let received = start;
  const report = (): void => progress({ id, path, received, total: file.size });
  report();
  for await (const piece of bodyOf(response, target, signal)) {
    idle.restart();
    await writing(incomplete, file, () => output.writeFile(piece));
    received += piece.byteLength;
    report();
  }
  await writing(incomplete, file, () => syncFile(output));
  if (file.size !== undefined && received > file.size) {
    await output.truncate();
    throw new Error(`hub: '${path}' of '${id}' got ${received} bytes, expected ${file.size}. Try again.`);
  }
  if (received < (file.size ?? 0)) throw interruptionError(target);
}

async function* bodyOf(
  response: Response,
  target: FileTarget,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array> {
  try {
    if (response.body) yield* response.body;
  } catch (cause) {
    signal?.throwIfAborted();
    throw interruptionError(target, cause);
  }
}

const interruptionError = ({ id, path }: FileTarget, cause?: unknown) =>
  new HubUnreachableError(
    `hub: the download of '${path}' of '${id}' was interrupted. Try again: it continues where it ended.`,
    { cause },
  );

/** Calls `write`. @throws an error that says what to do if it fails */
async function writing<T>(path: string, { size }: HubFile, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (cause) {
    const missing = size === undefined ? '' : `, ${((size - (await sizeOf(path))) / 1e6).toFixed(1)} MB are missing`;
    throw new Error(
      `hub: cannot write '${path}': ${(cause as Error).message}${missing}. Free space on the disk, check the ` +
        "folder's permissions, or set HF_HUB_CACHE to another folder.",
      { cause },
    );
  }
}

/** Aborts its signal when `restart` was not called for some seconds. */
class IdleTimeout {
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly signal = this.#controller.signal;

  constructor(seconds: number) {
    const stall = () => this.#controller.abort(new Error(`no byte arrived for ${seconds} s`));
    this.#timer = setTimeout(stall, seconds * 1000);
  }

  restart(): void {
    this.#timer.refresh();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

/** Returns the size of a file in bytes; 0 if there is none. */
async function sizeOf(path: string): Promise<number> {
  const { stat } = await import('node:fs/promises');
  return (await ifPresent(stat(path)))?.size ?? 0;
}

async function sha256(path: string): Promise<string> {
  const { createHash } = await import('node:crypto');
  const { createReadStream } = await import('node:fs');
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(piece as Uint8Array);
  return hash.digest('hex');
}
