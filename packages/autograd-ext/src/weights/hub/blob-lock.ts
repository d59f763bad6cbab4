import { SILENCE, takeProcessLock, type ProcessLock } from '../files/process-lock.js';
import type { HubCache } from './hub-cache.js';
import type { HubSettings } from './hub-settings.js';
import { pause } from './retries.js';

/**
 * Calls `download` while no other load of this program, in this process or another one, downloads the same blob; does
 * not call it if the blob is complete by then. Python's huggingface_hub is not locked out, since Node has no `flock`:
 * it writes to files of other names, so that both may download the same blob, and either's rename is atomic.
 * @param download gets the name of the file to write to: one that an earlier download may have left, to be resumed; or
 *   a unique one where no lock can be taken, or another process, which is silent, may go on writing to that file
 * @throws the reason of the signal when that is aborted
 */
export async function withBlobLock(
  cache: HubCache,
  etag: string,
  { isComplete, settings }: { readonly isComplete: () => Promise<boolean>; readonly settings: HubSettings },
  download: (incomplete: string) => Promise<void>,
): Promise<void> {
  const { rm } = await import('node:fs/promises');
  const { randomUUID } = await import('node:crypto');
  const blob = cache.blob(etag);
  const shared = `${blob}.alignprop.incomplete`;
  const lock = await waitForLock(cache.lock(etag), isComplete, settings);
  if (lock === 'complete') return;
  const isOurs = lock && !lock.previousMayWake;
  const incomplete = isOurs ? shared : `${blob}.${randomUUID()}.alignprop.incomplete`;
  try {
    if (!(await isComplete())) await download(incomplete);
  } finally {
    if (!isOurs) await rm(incomplete, { force: true }).catch(() => {}); // the first error is the one to report
    await lock?.release();
  }
}

/** Returns the lock, 'complete' if the blob is there before, or undefined if there is to be no lock. */
async function waitForLock(
  path: string,
  isComplete: () => Promise<boolean>,
  { signal }: HubSettings,
): Promise<ProcessLock | 'complete' | undefined> {
  const { mkdir } = await import('node:fs/promises');
  const { dirname } = await import('node:path');
  for (let seconds = 0.01, waited = 0; ; seconds = Math.min(0.5, seconds * 1.5)) {
    const result = await mkdir(dirname(path), { recursive: true })
      .then(() => takeProcessLock(path, { signal }))
      .catch(() => signal?.throwIfAborted()); // a cache of another user, or a file system without it: unique names do
    if (!result) return undefined;
    if ('lock' in result) return result.lock;
    if (await isComplete()) return 'complete';
    waited += seconds;
    if ((result.holder.silence ?? waited) > SILENCE) return undefined; // stopped, or gone and its number is another's
    await pause(seconds, signal);
  }
}
