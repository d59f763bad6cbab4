import { execFile, execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const programs = fileURLToPath(new URL('program', import.meta.url));

/** A folder outside the repository with the packed packages installed. */
export interface Project {
  readonly home: string;
  /** The folder of the embedded model. */
  readonly model: string;
  /** Runs a command, found in node_modules/.bin first. Returns what it prints. */
  run(command: readonly string[], env?: NodeJS.ProcessEnv): Promise<string>;
}

/**
 * Installs packages, without their install scripts, into a new folder with the programs of program/.
 * @param tarballs the packed packages by name
 */
export function createProject(home: string, tarballs: Readonly<Record<string, string>>, packages: readonly string[]) {
  cpSync(programs, home, { recursive: true });
  writeFileSync(join(home, 'package.json'), '{ "private": true, "type": "module" }');
  const libraries = Object.values(tarballs);
  const options = ['--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts'];
  execFileSync('npm', ['install', ...options, ...libraries, ...packages], { cwd: home, stdio: 'inherit' });
  mkdirSync(join(home, 'model'));
  const inside = 'package/models/tiny-emoji';
  execFileSync('tar', ['-xzf', tarballs.cli!, '-C', join(home, 'model'), '--strip-components=3', inside]);
  const bun = join(home, `node_modules/@oven/bun-${process.platform}-${process.arch}/bin`);
  const path = [join(home, 'node_modules/.bin'), bun, process.env.PATH].join(delimiter);
  const run = async ([file, ...args]: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> => {
    const options = { cwd: home, maxBuffer: 2 ** 26, env: { ...process.env, NODE_OPTIONS: '', PATH: path, ...env } };
    const { stdout } = await promisify(execFile)(file!, args, options);
    return stdout;
  };
  return { home, model: join(home, 'model'), run } satisfies Project;
}
