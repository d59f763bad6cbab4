import { hubRequest, HubUnreachableError, type HubTarget } from './hub-request.js';
import type { HubSettings } from './hub-settings.js';

/** A file as the hub describes it. */
export interface HubFile {
  readonly url: string;
  /** The sha256 (64 digits) of a large file, git's sha1 of any other; the name of the blob in the cache. */
  readonly etag: string;
  readonly size: number;
}

const ATTEMPTS = 5;

/** Asks the hub for the etag and size of a file. @throws if the hub refuses or answers without them */
export async function describeFile(url: string, settings: HubSettings, target: HubTarget): Promise<HubFile> {
  const { headers } = await head(url, settings, target);
  const etag = (headers.get('x-linked-etag') ?? headers.get('etag'))?.replace(/^W\//, '').replaceAll('"', '');
  const size = Number(headers.get('x-linked-size') ?? headers.get('content-length') ?? NaN);
  if (etag && /^\w[\w.-]*$/.test(etag) && Number.isSafeInteger(size)) return { url, etag, size };
  throw new Error(
    `hub: '${target.path}' of '${target.id}' got ETag ${etag} and length ${size}, expected both. ` +
      'Check that HF_ENDPOINT is a Hugging Face hub.',
  );
}

/**
 * Sends a HEAD request. Follows redirects within the hub, of repositories that moved, but not those of large files: the
 * answers of the store that they lead to have no etags.
 */
async function head(url: string, settings: HubSettings, target: HubTarget): Promise<Response> {
  const response = await hubRequest(url, settings, target, {
    method: 'HEAD',
    redirect: 'manual',
    signal: AbortSignal.timeout(30_000),
  });
  const redirect = response.headers.get('x-linked-etag') ? null : response.headers.get('location');
  return redirect?.startsWith('/') ? head(new URL(redirect, url).href, settings, target) : response;
}

/**
 * Downloads a file to `<blob>.incomplete`, checks it and renames it to `blob`. An interrupted download resumes where it
 * stopped: immediately in up to five attempts, and again in a later call.
 * @throws if the hub cannot be reached or refuses, or if the file's size or sha256 is wrong
 */
export async function downloadBlob(
  file: HubFile,
  blob: string,
  settings: HubSettings,
  target: HubTarget & { path: string },
): Promise<void> {
  const { mkdir, rename, rm } = await import('node:fs/promises');
  const { dirname } = await import('node:path');
  const incomplete = `${blob}.incomplete`;
  await mkdir(dirname(blob), { recursive: true });
  for (let attempt = 1; (await sizeOf(incomplete)) !== file.size; attempt++) {
    try {
      await receive(file, incomplete, settings, target);
    } catch (error) {
      if (!(error instanceof HubUnreachableError) || attempt === ATTEMPTS) throw error;
    }
  }
  const digest = /^[0-9a-f]{64}$/.test(file.etag) ? await sha256(incomplete) : file.etag;
  if (digest !== file.etag) {
    await rm(incomplete);
    throw new Error(
      `hub: '${target.path}' of '${target.id}' got sha256 ${digest}, expected ${file.etag}: ` +
        'it was damaged on the way. Try again.',
    );
  }
  await rename(incomplete, blob);
}

/** Downloads a file, or the rest of it, and appends it to `incomplete`. */
async function receive(
  file: HubFile,
  incomplete: string,
  settings: HubSettings,
  target: HubTarget & { path: string },
): Promise<void> {
  const { open } = await import('node:fs/promises');
  const present = (await sizeOf(incomplete)) ?? 0;
  const resume = present > 0 && present < file.size;
  const response = await hubRequest(
    file.url,
    settings,
    target,
    resume ? { headers: { range: `bytes=${present}-` } } : {},
  );
  let received = response.status === 206 ? present : 0;
  const output = await open(incomplete, received ? 'a' : 'w');
  try {
    settings.onProgress({ id: target.id, path: target.path, received, total: file.size });
    for await (const piece of bodyOf(response, target)) {
      await output.writeFile(piece);
      received += piece.byteLength;
      settings.onProgress({ id: target.id, path: target.path, received, total: file.size });
    }
    await output.sync();
  } finally {
    await output.close();
  }
  if (received > file.size)
    throw new Error(`hub: '${target.path}' of '${target.id}' got ${received} bytes, expected ${file.size}. Try again.`);
  if (received < file.size) throw interruptionError(target);
}

async function* bodyOf(response: Response, target: HubTarget): AsyncGenerator<Uint8Array> {
  try {
    if (response.body) yield* response.body;
  } catch (cause) {
    throw interruptionError(target, cause);
  }
}

const interruptionError = ({ id, path }: HubTarget, cause?: unknown) =>
  new HubUnreachableError(
    `hub: the download of '${path}' of '${id}' was interrupted. Try again: it continues where it ended.`,
    { cause },
  );

async function sizeOf(path: string): Promise<number | undefined> {
  const { stat } = await import('node:fs/promises');
  return stat(path).then(
    ({ size }) => size,
    () => undefined,
  );
}

async function sha256(path: string): Promise<string> {
  const { createHash } = await import('node:crypto');
  const { createReadStream } = await import('node:fs');
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(piece as Uint8Array);
  return hash.digest('hex');
}
