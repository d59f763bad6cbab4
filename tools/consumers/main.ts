// The consumer matrix: installs the packed packages in a folder, bundles a program that draws and trains with each
// bundler, runs the bundles in Chromium and Node, runs the program on each runtime, and checks the types.
//   npm run consumers [-- --only bundlers|runtimes|types] [--keep FOLDER]
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { findChromium } from '../browser/chromium.js';
import { bundlers, type Bundler } from './bundlers.js';
import { nextPackages, runNext } from './next.js';
import { pack } from './pack.js';
import { runPage } from './page-host.js';
import { createProject, type Project } from './project.js';
import { runtimes } from './runtimes.js';
import { checkTypes, typePackages } from './type-check.js';

const { only, keep } = parseArgs({ options: { only: { type: 'string' }, keep: { type: 'string' } } }).values;
const folder = keep ?? mkdtempSync(join(tmpdir(), 'alignprop-consumers-'));
const isAsked = (part: string): boolean => only === undefined || only === part;
const chromium = findChromium();
let failures = 0;

try {
  const home = join(folder, 'project');
  for (const path of [folder, home]) mkdirSync(path, { recursive: true });
  const packages = [
    ...(isAsked('bundlers') ? [...bundlers.flatMap(({ packages }) => packages), ...nextPackages] : []),
    ...runtimes.map(({ install }) => install),
    ...typePackages,
  ];
  const project = createProject(home, pack(folder), [...new Set(packages)]);
  const [expected] = await attempt('Node, unbundled', () => runServer(project, ['node', 'server.mjs']));
  if (isAsked('bundlers')) for (const bundler of bundlers) await checkBundler(project, bundler, expected!);
  if (isAsked('bundlers'))
    await attempt('Next.js 16.4', async () => {
      const { page, route } = await runNext(project, chromium);
      const server = `route: ${compare(route, expected!)}`;
      return page ? `page: ${compare({ results: page }, expected!)}; ${server}` : server;
    });
  if (isAsked('runtimes'))
    for (const { name, command, program } of runtimes)
      await attempt(name, async () => {
        const results = await runServer(project, [...command(home), program]);
        return compare(results, expected!);
      });
  if (isAsked('types'))
    for (const [setting, errors] of Object.entries(await checkTypes(project))) {
      const ours = Object.keys(errors).filter((name) => name === '' || name.startsWith('@alignprop/'));
      const counts = Object.entries(errors).map(([name, lines]) => `${name || 'consumer.ts'}: ${lines.length}`);
      await attempt(`types, ${setting}`, () => {
        if (ours.length > 0) throw new Error(ours.flatMap((name) => errors[name]!).join('\n'));
        return Promise.resolve(counts.length === 0 ? 'no errors' : `errors of ${counts.join(', ')}`);
      });
    }
} finally {
  if (!keep) rmSync(folder, { recursive: true, force: true });
}
if (failures > 0) throw new Error(`consumers: ${failures} failed.`);

/** The numbers of a run, and the engine that pipelines choose there. */
interface Outcome {
  readonly results: readonly number[];
  readonly engine?: string;
}

/** Runs a check and prints its line. Returns what it returns, or nothing if it fails. */
async function attempt<T>(name: string, check: () => Promise<T>): Promise<[T?]> {
  const start = performance.now();
  const seconds = () => ((performance.now() - start) / 1000).toFixed(1);
  try {
    const result = await check();
    console.log(`ok      ${name}: ${typeof result === 'string' ? result : JSON.stringify(result)} (${seconds()} s)`);
    return [result];
  } catch (error) {
    failures++;
    const { message, stdout = '', stderr = '' } = error as Error & { stdout?: string; stderr?: string };
    console.log(`FAILED  ${name}: ${message}\n${stdout.slice(-2000)}${stderr.slice(-2000)} (${seconds()} s)`);
    return [];
  }
}

async function checkBundler(project: Project, { name, prepare, client, server }: Bundler, expected: Outcome) {
  prepare?.(project.home);
  if (client)
    await attempt(`${name}, browser`, async () => {
      await project.run(client.command);
      if (!chromium) return 'bundled; Chromium is not installed';
      const page = { folder: join(project.home, client.output) };
      return compare({ results: await runPage(chromium, page, project.model) }, expected);
    });
  if (server)
    await attempt(`${name}, server`, async () => {
      await project.run(server.command);
      return compare(await runServer(project, ['node', server.output]), expected);
    });
}

async function runServer(project: Project, command: readonly string[]): Promise<Outcome> {
  const output = await project.run([...command, project.model]);
  return JSON.parse(output.trim().split('\n').at(-1)!) as Outcome;
}

/** @throws if two runs differ by more than rounding */
function compare({ results, engine }: Outcome, expected: Outcome): string {
  const far = results.filter((value, i) => !(Math.abs(value - expected.results[i]!) <= 1e-4));
  if (results.length !== expected.results.length || far.length > 0)
    throw new Error(`got ${results.join(', ')}, expected ${expected.results.join(', ')}`);
  const largest = Math.max(...results.map((value, i) => Math.abs(value - expected.results[i]!)));
  return `same numbers as Node (within ${largest.toExponential(0)})${engine ? `, engine ${engine}` : ''}`;
}
