// The program of open-mpi-ends.test.ts: ranks-program.ts <part>. Each part ends in another way; it trains nothing.
import { acrossProcesses } from '../collective/across-processes.js';
import type { Collective } from '../collective/collective.js';
import { exchange } from '../collective/exchange.js';
import { together } from '../collective/together.js';
import { checkCollective } from './collective-contract.js';

/** Does something else on rank 1, while the other ranks wait for it. */
const onRankOne = async (collective: Collective, work: () => void): Promise<void> => {
  await collective.barrier();
  if (collective.rank === 1) setTimeout(work, 100);
  else await collective.barrier();
  await new Promise((resolve) => setTimeout(resolve, 60_000));
};

const parts: Readonly<Record<string, (collective: Collective) => Promise<unknown>>> = {
  contract: checkCollective,
  throw: (collective) => together(collective, 'the work', () => refuse(collective.rank === 1)),
  throwAlone: (collective) => (collective.rank === 1 ? refuse(true) : collective.barrier()),
  throwAll: (collective) => together(collective, 'the work', () => refuse(true)),
  reject: (collective) => onRankOne(collective, () => void Promise.reject(new Error('out of paper'))),
  exit: (collective) => onRankOne(collective, () => process.exit(7)),
  exitWell: (collective) => onRankOne(collective, () => process.exit(0)),
  kill: (collective) => onRankOne(collective, () => process.kill(process.pid, 'SIGKILL')),
  term: (collective) => onRankOne(collective, () => process.kill(process.pid, 'SIGTERM')),
  hang: (collective) =>
    onRankOne(collective, () => {
      for (;;);
    }),
  differentCalls: (collective) => collective.sum(new Float32Array(7 + 2 * collective.rank)),
  differentPlaces: (collective) => exchange(collective, collective.rank === 1 ? 'the end' : 'step 3', null),
};

const refuse = async (isRefused: boolean): Promise<void> => {
  await Promise.resolve();
  if (isRefused) throw new Error('out of paper');
};

const [part, timeout] = process.argv.slice(2);
await acrossProcesses(parts[part!]!, { ...(timeout && { timeout: Number(timeout) }) });
