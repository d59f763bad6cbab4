import { readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { availableParallelism, cpus, freemem, release, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pathExists } from '../path-exists.js';
import { parseJson, table } from '@alignprop/autograd-ext/outside';
import { programVersion } from '../version.js';
import type { Finding } from './finding.js';

/** Bytes of free memory below which a UNet call of SD 1.5, whose weights have 3.4 GB, is slow or fails. */
const neededMemory = 4 * 2 ** 30;

/** Tells the versions, the installation, memory and disk. */
export async function checkSystem(): Promise<readonly Finding[]> {
  return [checkVersions(), checkInstallation(), checkMemory(), ...checkLargePages(), await checkDisk()];
}

function checkVersions(): Finding {
  const { platform, arch, version } = process;
  const [cpu] = cpus();
  const text =
    `alignprop ${programVersion()}, Node ${version.slice(1)}, ${platform} ${arch} ${release()}, ` +
    `${availableParallelism()} cores${cpu ? ` of ${cpu.model.trim()}` : ''}`;
  const values = { alignprop: programVersion(), node: version.slice(1), platform, arch, cores: availableParallelism() };
  const [major, minor] = version.slice(1).split('.').map(Number) as [number, number];
  if (major > 20 || (major === 20 && minor >= 19)) return { name: 'versions', status: 'ok', text, values };
  return { name: 'versions', status: 'problem', text, values, fix: 'Install Node 20.19 or newer: https://nodejs.org' };
}

/** Lockfiles of package managers, by which a project tells its own. */
const managers = table({
  'pnpm-lock.yaml': 'pnpm',
  'yarn.lock': 'yarn',
  'bun.lock': 'bun',
  'package-lock.json': 'npm',
});

function checkInstallation(): Finding {
  const here = dirname(fileURLToPath(import.meta.url));
  const [root, inside] = here.split(/[\\/]node_modules[\\/]/) as [string, string?];
  const npm = npmVersion();
  const withNpm = npm ? `, npm ${npm} beside Node` : '';
  const isProject = inside !== undefined && pathExists(join(root, 'package.json'));
  const kind = inside === undefined ? 'sources' : isProject ? 'project' : 'global';
  const lockfile = isProject ? Object.keys(managers).find((name) => pathExists(join(root, name))) : undefined;
  const manager = lockfile && managers[lockfile];
  const text = { sources: 'runs from sources', project: 'in the project', global: 'globally' }[kind];
  return {
    name: 'installation',
    status: 'ok',
    text: `${text} ${root}${manager ? ` by ${manager}` : ''}${withNpm}`,
    values: { kind, root, ...(manager && { manager }), ...(npm && { npm }) },
  };
}

/** The version of the npm that came with Node; read from its files, since starting it takes a second. */
function npmVersion(): string | undefined {
  const bin = dirname(process.execPath);
  const file = ['../lib/node_modules/npm/package.json', 'node_modules/npm/package.json']
    .map((path) => join(bin, path))
    .find((path) => pathExists(path));
  return file && (parseJson(readFileSync(file, 'utf8')) as { version: string }).version;
}

function checkMemory(): Finding {
  const [free, total] = [freemem(), totalmem()];
  const text = `${gigabytes(free)} of ${gigabytes(total)} free`;
  const values = { free, total };
  if (free >= neededMemory) return { name: 'memory', status: 'ok', text, values };
  return { name: 'memory', status: 'note', text: `${text}; Stable Diffusion 1.5 needs about 4 GB to draw`, values };
}

const largePagesFile = '/sys/kernel/mm/transparent_hugepage/enabled';

/** Tells whether Linux hands out large pages, in which large models compute. */
function checkLargePages(): readonly Finding[] {
  return pathExists(largePagesFile) ? [largePages(readFileSync(largePagesFile, 'utf8'))] : [];
}

/** @param setting all choices, with that of the system in brackets */
export function largePages(setting: string): Finding {
  const chosen = /\[(.*)\]/.exec(setting)?.[1] ?? 'unknown';
  const common = { name: 'large pages', values: { setting: chosen } } as const;
  if (chosen !== 'never') return { ...common, status: 'ok', text: `Linux hands them out (${chosen})` };
  const text = 'Linux hands out none, which makes models like Stable Diffusion slower';
  return { ...common, status: 'note', text, fix: `echo madvise | sudo tee ${largePagesFile}` };
}

async function checkDisk(): Promise<Finding> {
  const { bavail, bsize } = await statfs('.');
  const text = `${gigabytes(bavail * bsize)} free in the working folder ${process.cwd()}`;
  return { name: 'disk', status: bavail * bsize > 2 ** 30 ? 'ok' : 'note', text, values: { free: bavail * bsize } };
}

export const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
