import { join } from 'node:path';

/** A program that runs server.mjs, from a package of npm that has its binary for this platform. */
export interface Runtime {
  readonly name: string;
  /** The package, pinned; npm installs it under its name, or under `alias`. */
  readonly install: string;
  /** The command and its arguments before those of the program. */
  command(home: string): readonly string[];
  readonly program: 'server.mjs' | 'worker.mjs';
}

const platform = `${process.platform}-${process.arch}`;
const libc = process.platform === 'linux' ? '-glibc' : '';

const node = (version: string, program: Runtime['program'] = 'server.mjs'): Runtime => ({
  name: `Node ${version}${program === 'worker.mjs' ? ', in a worker thread' : ''}`,
  install: `node-${version}@npm:node-${platform}@${version}`,
  command: (home) => [join(home, `node_modules/node-${version}/bin/node`)],
  program,
});

/** The oldest Node that the packages support, the newest, and their kin. */
export const runtimes: readonly Runtime[] = [
  node('20.19.0'),
  node('26.10.0'),
  node('20.19.0', 'worker.mjs'),
  {
    name: 'Bun 1.4.5',
    install: `@oven/bun-${platform}@1.4.5`,
    command: (home) => [join(home, `node_modules/@oven/bun-${platform}/bin/bun`)],
    program: 'server.mjs',
  },
  {
    name: 'Deno 2.9.6',
    install: `@deno/${platform}${libc}@2.9.6`,
    command: (home) => [join(home, `node_modules/@deno/${platform}${libc}/deno`), 'run', '--allow-all'],
    program: 'server.mjs',
  },
];
