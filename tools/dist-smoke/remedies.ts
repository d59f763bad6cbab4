import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Scores a JPEG file, which needs a package that is not installed, then runs the command that the error prints, and
 * scores again: in a project, and with the same packages laid out as `npm install --global` does.
 * @param project a folder with the command in its node_modules
 * @param image a JPEG file
 * @throws if the command that is printed is not that of the place, or does not help
 */
export function checkRemedies(project: string, image: string): string {
  const commands = [globalPlace(project), projectPlace(project)].map((place) => checkPlace(place, image));
  return `remedies: ${commands.join(', ')}`;
}

/** The place where the command is installed. */
interface Place {
  /** The folder it is run in. */
  readonly cwd: string;
  /** Its file, which Node runs. */
  readonly program: string;
  /** The environment variables of its user. */
  readonly env: NodeJS.ProcessEnv;
  /** The command that has to be printed. */
  readonly remedy: string;
  /** The words that a printed command of this program begins with. */
  readonly words: string;
}

const programIn = (modules: string): string => join(modules, '@alignprop/cli/bin/alignprop.js');

const projectPlace = (project: string): Place => ({
  cwd: project,
  program: programIn(join(project, 'node_modules')),
  env: {},
  remedy: 'npm install sharp',
  words: 'npx alignprop',
});

/** Copies the packages of a project below those of the command, in a prefix of its own. */
function globalPlace(project: string): Place {
  const prefix = `${project}-prefix`;
  const modules = join(prefix, process.platform === 'win32' ? 'node_modules' : 'lib/node_modules');
  const command = join(modules, '@alignprop/cli');
  const cwd = `${project}-user`;
  cpSync(join(project, 'node_modules/@alignprop/cli'), command, { recursive: true });
  for (const name of readdirSync(join(project, 'node_modules')).filter((name) => !name.startsWith('.')))
    cpSync(join(project, 'node_modules', name), join(command, 'node_modules', name), { recursive: true });
  rmSync(join(command, 'node_modules/@alignprop/cli'), { recursive: true });
  mkdirSync(cwd);
  const env = { npm_config_prefix: prefix };
  return { cwd, program: programIn(modules), env, remedy: 'npm install -g sharp', words: 'alignprop' };
}

function checkPlace({ cwd, program, env, remedy, words }: Place, image: string): string {
  const run = (command: string, args: readonly string[], shell = false) =>
    spawnSync(command, args, { cwd, shell, encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '', ...env } });
  const score = () => run(process.execPath, [program, 'score', image, '--reward', 'jpeg-compressibility', '--json']);
  const printed = /Run '(.*?)'/.exec(score().stderr)?.[1];
  if (printed !== remedy) throw new Error(`remedies: got '${printed}' in ${cwd}, expected '${remedy}'.`);
  const installed = run(`${remedy} --prefer-offline --no-audit --no-fund`, [], true);
  const { status, stderr } = score();
  if (status !== 0) throw new Error(`remedies: '${remedy}' did not help in ${cwd}: ${installed.stderr}${stderr}`);
  const { stderr: usage } = run(process.execPath, [program, 'train', '--qqqqqqqq']);
  if (!usage.includes(`See ${words} train --help`)) throw new Error(`remedies: got ${usage}, expected ${words}.`);
  return remedy;
}
