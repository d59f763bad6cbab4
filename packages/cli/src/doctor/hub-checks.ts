import { constants } from 'node:fs';
import { access, readdir, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { hubState, type HubState } from '@alignprop/autograd-ext/weights';
import type { Finding } from './finding.js';
import { gigabytes } from './system-checks.js';

/** Checks the cache of downloaded models, the hub and the token. */
export async function checkHub(): Promise<readonly Finding[]> {
  const state = await hubState();
  return [await checkCache(state.cacheDir), checkAnswer(state), checkToken(state)];
}

async function checkCache(folder: string): Promise<Finding> {
  const existing = await nearestFolder(folder);
  const isWritable = await access(existing, constants.W_OK).then(
    () => true,
    // eslint-disable-next-line no-restricted-syntax -- every error is the finding
    () => false,
  );
  if (!isWritable)
    return {
      name: 'cache',
      status: 'problem',
      text: `${folder} cannot be written, so that models of the hub cannot be downloaded`,
      fix: `export HF_HUB_CACHE=<a folder that you may write>, or: sudo chown -R "$USER" '${existing}'`,
      values: { folder, writable: false },
    };
  const bytes = await sizeOfCache(folder);
  const { bavail, bsize } = await statfs(existing);
  const text = `${folder}: ${gigabytes(bytes)} of models, ${gigabytes(bavail * bsize)} free`;
  return { name: 'cache', status: 'ok', text, values: { folder, writable: true, bytes, free: bavail * bsize } };
}

/** The folder itself, or the nearest one above it that exists. */
async function nearestFolder(folder: string): Promise<string> {
  const exists = await stat(folder).then(
    () => true,
    (error: unknown) => (error as NodeJS.ErrnoException).code !== 'ENOENT',
  );
  return exists ? folder : nearestFolder(dirname(folder));
}

/** Adds up the blobs of all repositories. */
async function sizeOfCache(folder: string): Promise<number> {
  const repositories = await readdir(folder).catch(absent);
  const blobs = await Promise.all(
    repositories.map(async (name) => {
      const path = join(folder, name, 'blobs');
      return (await readdir(path).catch(absent)).map((blob) => join(path, blob));
    }),
  );
  const sizes = await Promise.all(blobs.flat().map(async (path) => (await stat(path)).size));
  return sizes.reduce((sum, size) => sum + size, 0);
}

function absent(error: unknown): string[] {
  if (['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return [];
  throw error;
}

function checkAnswer({ endpoint, isOffline, problem }: HubState): Finding {
  const values = { endpoint, offline: isOffline, reachable: !isOffline && problem === undefined };
  if (isOffline) return { name: 'hub', status: 'ok', text: 'offline, as HF_HUB_OFFLINE says', values };
  if (problem === undefined) return { name: 'hub', status: 'ok', text: `${endpoint} answers`, values };
  const text = `${endpoint} does not answer (${problem}): only models in the cache and in folders can be used`;
  return { name: 'hub', status: 'note', text, values, fix: 'Check the network, HTTPS_PROXY and HF_ENDPOINT.' };
}

function checkToken({ token }: HubState): Finding {
  const texts = {
    none: 'none; only private and gated models need one',
    valid: 'the hub accepts it',
    refused: 'the hub refuses it, so that it refuses downloads of public models too',
    unchecked: 'there is one; the hub was not asked',
  } as const;
  const finding = { name: 'token', text: texts[token], values: { token } };
  if (token !== 'refused') return { ...finding, status: 'ok' };
  return { ...finding, status: 'problem', fix: 'unset HF_TOKEN, or write a new token with: hf auth login' };
}
