import type { Worker } from 'node:worker_threads';

/** Seconds between two heartbeats. */
export const BEAT = 5;

/** Seconds without a file to beat after which the thread ends. */
const IDLE = 30;

/**
 * A thread of its own, since a training step may block the event loop for minutes. It writes the first byte of each
 * file again, so that the file server stamps the time, and creates no file: one that was removed stays away.
 */
const PROGRAM = `
  const { closeSync, openSync, writeSync } = require('node:fs');
  const { parentPort } = require('node:worker_threads');
  let files = [];
  parentPort.on('message', (message) => { files = message; });
  parentPort.postMessage('ready');
  setInterval(() => {
    for (const file of files) {
      try {
        const handle = openSync(file, 'r+');
        try { writeSync(handle, '{', 0); } finally { closeSync(handle); }
      } catch {} // the lock is lost, or the file system is away: other processes see silence
    }
  }, ${BEAT * 1000});`;

const files = new Set<string>();
let thread: Promise<Worker | undefined> | undefined;
let end: NodeJS.Timeout | undefined;

/** Starts the thread, if it does not run yet. @returns false where threads are not allowed or cannot be started */
export async function canBeat(): Promise<boolean> {
  thread ??= startThread();
  endWhenIdle();
  return (await thread) !== undefined;
}

/** Gives a JSON file, which starts with a brace, a new time of modification every `BEAT` seconds. */
export async function startBeating(file: string): Promise<void> {
  files.add(file);
  (await thread)?.postMessage([...files]);
}

/** Ends the heartbeats of a file. */
export async function stopBeating(file: string): Promise<void> {
  files.delete(file);
  (await thread)?.postMessage([...files]);
  endWhenIdle();
}

function endWhenIdle(): void {
  clearTimeout(end);
  end = setTimeout(() => {
    if (files.size > 0) return;
    void thread?.then((worker) => worker?.terminate());
    thread = undefined;
  }, IDLE * 1000);
  end.unref();
}

async function startThread(): Promise<Worker | undefined> {
  try {
    const { Worker } = await import('node:worker_threads');
    const worker = new Worker(PROGRAM, { eval: true, execArgv: [], env: {}, name: 'alignprop-lock' });
    worker.unref();
    return await new Promise((resolve) => {
      worker.once('message', () => resolve(worker));
      worker.once('error', () => resolve(undefined));
    });
  } catch {
    return undefined;
  }
}
