// The status and the words with which ranks end that Open MPI connects, over each of its transports on one machine.
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { bundleProgram } from '../../../../fixtures/bundle-program.js';
import {
  hasMpirun,
  hasTwoHosts,
  runProgram,
  type ProgramOptions,
  type ProgramResult,
} from '../../../../fixtures/run-program.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';

const source = fileURLToPath(new URL('../__fixtures__/ranks-program.ts', import.meta.url));

describe.skipIf(!hasMpirun('open-mpi-ends.test.ts'))('ranks under mpirun', () => {
  const folder = temporaryFolder();
  let program: string;
  beforeAll(async () => void (program = await bundleProgram(source, folder)));

  const run = (args: readonly string[], options: ProgramOptions = {}): Promise<ProgramResult> =>
    runProgram(program, args, { ranks: 2, transport: 'tcp', isBundled: true, ...options });

  it.each([
    ['tcp', 2],
    ['tcp', 4],
    ['vader', 2],
  ] as const)('end with status 0 after all calls of a collective, over %s with %i ranks', async (transport, ranks) => {
    expect(await run(['contract'], { transport, ranks })).toEqual({ code: 0, signal: null, stdout: '', stderr: '' });
  });

  it.each([
    ['an error on one of them', 'throw', 1, /^RankError: rank 1: Error: out of paper\n +at /m],
    ['an error that one of them does not share', 'throwAlone', 1, /^\[rank 1\] Error: out of paper\n +at /m],
    ['an unhandled rejection on one of them', 'reject', 1, /^\[rank 1\] Error: out of paper\n +at /m],
    ['process.exit(7) on one of them', 'exit', 7, /^\[rank 1\] Error: the process exits with status 7 before the end/m],
    ['process.exit(0) on one of them', 'exitWell', 1, /^\[rank 1\] Error: the process exits with status 0 before/m],
    ['kill -9 of one of them', 'kill', 137, /process rank 1 .* exited on signal 9/],
    ['SIGTERM for one of them', 'term', 143, /process rank 1 .* exited on signal 15/],
    [
      'different calls',
      'differentCalls',
      1,
      /Collective: got sum of 7 values on rank 0, sum of 9 values on rank 1, exp/,
    ],
    [
      'calls at different places',
      'differentPlaces',
      1,
      /Collective: got step 3 on rank 0, the end on rank 1, expected/,
    ],
  ])('all end after %s, with its status and words', async (_, part, code, words) => {
    const { stderr, ...end } = await run([part]);
    expect(end).toMatchObject({ code, stdout: '' });
    expect(stderr).toMatch(words);
  });

  it('all end when one hangs for longer than the limit, which those that wait report', async () => {
    const { code, stderr } = await run(['hang', '5'], { ranks: 3 });
    expect(code).toBe(1);
    expect(stderr.match(/^\[rank .\] Error: openMpi: rank . has waited 5 s for other ranks\./gm)?.sort()).toEqual([
      '[rank 0] Error: openMpi: rank 0 has waited 5 s for other ranks.',
      '[rank 2] Error: openMpi: rank 2 has waited 5 s for other ranks.',
    ]);
  });
});

describe.skipIf(!hasTwoHosts('open-mpi-ends.test.ts'))('ranks on two hosts', () => {
  const folder = temporaryFolder();
  let program: string;
  beforeAll(async () => void (program = await bundleProgram(source, folder)));

  it('exchange their data over the network, and end with status 0', async () => {
    const options = { ranks: 2, onTwoHosts: true, transport: 'tcp', isBundled: true } as const;
    const { code, stdout, stderr } = await runProgram(program, ['contract'], options);
    expect([code, stderr]).toEqual([0, '']);
    expect(Number(/^bytes sent: (\d+)$/m.exec(stdout)?.[1])).toBeGreaterThan(2 ** 22);
  });

  it('all end when one throws, with its error', async () => {
    const options = { ranks: 2, onTwoHosts: true, transport: 'tcp', isBundled: true } as const;
    const { code, stderr } = await runProgram(program, ['throw'], options);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^RankError: rank 1: Error: out of paper\n +at /m);
  });
});
