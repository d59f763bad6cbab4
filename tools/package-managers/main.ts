// Installs the packed command with each package manager, while the host that the install script of onnxruntime-node
// downloads from is out of reach. Draws a picture with it, and says on which engine; where that is tfjs, runs the
// command that the warning gives, and draws again. Fails if there is neither the engine nor a command that helps.
//   npm run package-managers [-- --only pnpm] [--keep FOLDER]
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { pack } from '../consumers/pack.js';
import { methods, type Method } from './methods.js';
import { serveScope } from './scope-registry.js';
import { createUser, type User } from './user.js';

/** The Node of all managers: npm 12 does not run on Node 20. */
const nodePackage = `node@npm:node-${process.platform}-${process.arch}@24.15.0`;

const { only = '', keep } = parseArgs({ options: { only: { type: 'string' }, keep: { type: 'string' } } }).values;
const folder = keep ?? mkdtempSync(join(tmpdir(), 'alignprop-managers-'));
mkdirSync(folder, { recursive: true });
const registry = await serveScope(pack(folder));
const programs = createUser(join(folder, 'programs'), registry.address, {});
const modules = join(programs.project, 'node_modules');
const rows: string[] = [];
let failures = 0;
try {
  const asked = methods.filter(({ name }) => name.includes(only));
  await programs.run(`npm install ${[nodePackage, ...new Set(asked.map(({ install }) => install))].join(' ')}`);
  for (const method of asked) {
    const cells = [await cell(method, false), method.runsScripts ? await cell(method, true) : 'not needed'];
    rows.push(`| ${method.name} | ${cells.join(' | ')} |`);
    console.log(rows.at(-1));
  }
} finally {
  registry.close();
  if (!keep) rmSync(folder, { recursive: true, force: true });
}
console.log(['', '| package manager | plain install | with the variable |', '| --- | --- | --- |', ...rows].join('\n'));
if (failures > 0) throw new Error(`package-managers: ${failures} failed.`);

/** Installs and draws. Returns what the table says of it. */
async function cell(method: Method, skipsScript: boolean): Promise<string> {
  const home = join(folder, `${method.name}${skipsScript ? ' skip' : ''}`.replaceAll(/[ ,.]+/g, '-'));
  const node = join(modules, 'node/bin/node');
  const user = createUser(home, registry.address, { node, ...method.programs(modules) });
  try {
    method.prepare?.(user.project, registry.address);
    const { code, output } = await user.run(method.command, skipsScript ? { ONNXRUNTIME_NODE_INSTALL: 'skip' } : {});
    if (code !== 0) console.log(`It ends with ${code}:\n${output.slice(-2000)}`);
    const text = await engine(method, user);
    return code === 0 ? text : `${text}; the exit code is ${code}`;
  } catch (error) {
    failures++;
    console.log(`FAILED  ${method.name}: ${(error as Error).message}`);
    return '**fails**';
  } finally {
    if (!keep) rmSync(home, { recursive: true, force: true });
  }
}

/** @throws if the command does not draw, or its advice does not lead to ONNX Runtime */
async function engine(method: Method, user: User): Promise<string> {
  const remedy = await draw(method, user);
  if (remedy === undefined) return 'onnxruntime';
  const { code, output } = await user.run(remedy);
  if (code !== 0) throw new Error(`'${remedy}' ends with ${code}:\n${output.slice(-2000)}`);
  if ((await draw(method, user)) !== undefined) throw new Error(`'${remedy}' does not help`);
  return `tfjs, until \`${remedy}\``;
}

/** Draws a picture. Returns the command that the warning gives; undefined if it runs on ONNX Runtime. */
async function draw({ run }: Method, user: User): Promise<string | undefined> {
  const { code, output } = await user.run(`${run} alignprop generate crab --steps 1 --output crab.png`.trim());
  if (code !== 0) throw new Error(`alignprop generate ends with ${code}:\n${output.slice(-2000)}`);
  const warning = output.split('\n').find((line) => line.includes('about five times slower'));
  if (!warning) return undefined;
  const remedy = /Run: (.*)$/.exec(warning)?.[1];
  if (!remedy) throw new Error(`no command in '${warning}'`);
  return remedy;
}
