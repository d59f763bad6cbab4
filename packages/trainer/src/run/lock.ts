import { takeProcessLock, thisProcess, type LockOwner, type ProcessLock } from '@alignprop/autograd-ext/weights';
import type { Logger } from '../logger.js';

/**
 * Takes `<path>/run.lock`, the lock of a run on its folder; see `takeProcessLock`.
 * @throws if another run holds it, or a run on another machine, which may have ended
 */
export async function takeRunLock(path: string, logger: Logger): Promise<ProcessLock> {
  const lock = `${path}/run.lock`;
  const result = await takeProcessLock(lock, ({ pid, since }) =>
    logger.info(`Taking over ${lock} of process ${pid}, which held it since ${since} and is gone.`),
  );
  if ('lock' in result) return result.lock;
  throw new Error(describeHolder(lock, result.owner, await thisProcess()));
}

function describeHolder(lock: string, owner: LockOwner, here: LockOwner): string {
  const holder = `output_dir: ${lock} is held by process ${owner.pid} on '${owner.host}' since ${owner.since}`;
  if (owner.host !== here.host)
    return (
      `${holder}, another machine than this ('${here.host}'). If no run uses this folder any more, remove ${lock}; ` +
      'else choose another output_dir.'
    );
  const other = owner.began === undefined ? ` If that is another program by now, remove ${lock}.` : '';
  return (
    `${holder}${owner.pid === here.pid ? ', which is this one' : ''}: another run trains there. ` +
    `Wait for it, end it, or choose another output_dir.${other}`
  );
}
