import {
  SILENCE,
  takeProcessLock,
  thisProcess,
  type LockHolder,
  type ProcessLock,
} from '@alignprop/autograd-ext/weights';
import type { Logger } from '../logger.js';

/** The lock of a run on its folder. */
export interface RunLock {
  /**
   * Called before the run writes.
   * @throws if another run has taken the folder, since this one was stopped for minutes
   */
  check(): Promise<void>;
  /** Can be called more than once. */
  release(): Promise<void>;
}

/**
 * Takes `<path>/run.lock`, the lock of a run on its folder; see `takeProcessLock`.
 * @throws if another run holds it, or one that cannot be seen and may have ended
 */
export async function takeRunLock(path: string, logger: Logger): Promise<RunLock> {
  const lock = `${path}/run.lock`;
  const result = await takeProcessLock(lock, {
    onStale: ({ pid, since }, silence) =>
      logger.info(
        `Taking over ${lock} of process ${pid}, which held it since ${since} and ` +
          `${silence === undefined ? 'is gone' : `has given no heartbeat for ${duration(silence)}`}.`,
      ),
  });
  if ('holder' in result) throw new Error(await describeHolder(lock, result.holder));
  return { check: () => check(lock, result.lock), release: result.lock.release };
}

async function check(path: string, lock: ProcessLock): Promise<void> {
  if (await lock.isHeld()) return;
  throw new Error(
    `output_dir: ${path} is no longer held by this run, which was stopped for minutes: another run has taken the ` +
      'folder, or the lock was removed. This run writes nothing more. Choose another output_dir to train it again.',
  );
}

async function describeHolder(path: string, { owner, state, silence }: LockHolder): Promise<string> {
  const here = await thisProcess();
  const heartbeat = silence === undefined ? 'without heartbeats' : `last heartbeat ${duration(silence)} ago`;
  const who = `process ${owner.pid} on '${owner.host}'`;
  const holder = `output_dir: ${path} is held by ${who} since ${owner.since}, ${heartbeat}`;
  const choice = 'Wait for it, end it, or choose another output_dir.';
  if (state === 'unseen') {
    const expiry =
      silence === undefined
        ? `If no run uses this folder any more, remove ${path}.`
        : `If it has ended: the lock is free after ${SILENCE} s without a heartbeat; or remove ${path}.`;
    return (
      `${holder}. It cannot be seen from this process (on '${here.host}'): ` +
      `it is on another machine, in another container, or from before a restart. ${choice} ${expiry}`
    );
  }
  const itself = owner.pid === here.pid ? ', which is this one' : '';
  const doubt = state === 'unverified' ? ` If process ${owner.pid} is another program by now, remove ${path}.` : '';
  return `${holder}${itself}: another run trains there. ${choice}${doubt}`;
}

const duration = (seconds: number): string =>
  seconds < 180 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
