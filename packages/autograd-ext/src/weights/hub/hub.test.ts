import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { readText, subfolder, type FileSource } from '../files/file-source.js';
import { resolveSource } from '../resolve-source.js';
import type { DownloadProgress } from './hub-settings.js';
import { hub } from './hub.js';

const sha1 = (data: string) => createHash('sha1').update(data).digest('hex');
const sha256 = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');

const commit = sha1('a commit');
const weights = Uint8Array.from({ length: 300_000 }, (_, i) => (i * i) % 251);
const etag = sha256(weights);
const files: Record<string, Uint8Array> = {
  'config.json': new TextEncoder().encode('{"a": 1}'),
  'unet/weights #1.safetensors': weights,
  'unet/config.json': new TextEncoder().encode('{}'),
};

/** A hub with one repository, whose large files are in a separate store. `misbehave` may answer instead of it. */
let misbehave: (request: IncomingMessage, response: ServerResponse) => boolean;
let requests: string[];
let authorized: (string | undefined)[];
let server: Server;
let endpoint: string;
let cacheDir: string;

beforeEach(async () => {
  misbehave = () => false;
  requests = [];
  authorized = [];
  server = createServer((request, response) => {
    requests.push([request.method, request.url, request.headers.range].filter(Boolean).join(' '));
    authorized.push(request.headers.authorization);
    if (!misbehave(request, response)) answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  cacheDir = await mkdtemp(join(tmpdir(), 'hub-'));
  for (const name of [
    'HF_HOME',
    'HF_HUB_CACHE',
    'HUGGINGFACE_HUB_CACHE',
    'XDG_CACHE_HOME',
    'HF_TOKEN',
    'HUGGING_FACE_HUB_TOKEN',
    'HF_HUB_OFFLINE',
    'HF_ENDPOINT',
  ])
    vi.stubEnv(name, '');
  vi.stubEnv('HF_TOKEN_PATH', join(cacheDir, 'no-token'));
});

afterEach(async () => {
  vi.unstubAllEnvs();
  if (server.listening) await stop();
  await rm(cacheDir, { recursive: true });
});

const stop = () => {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(resolve));
};

function answer(request: IncomingMessage, response: ServerResponse): unknown {
  const path = decodeURIComponent(request.url!);
  if (path === '/api/models/org/name/revision/main' || path === '/api/models/org/name/revision/refs/pr/1')
    return response.end(
      JSON.stringify({ sha: commit, siblings: Object.keys(files).map((rfilename) => ({ rfilename })) }),
    );
  const [, place, name] = /^\/(org\/name\/resolve\/[0-9a-f]{40}|store)\/(.*)$/.exec(path) ?? [];
  const data = files[name!];
  if (!data) return refuse(response, 404, place ? 'EntryNotFound' : 'RepoNotFound');
  if (data !== weights)
    return response
      .writeHead(200, { etag: `W/"${sha1(name!)}"`, 'content-length': data.length })
      .end(request.method === 'HEAD' ? undefined : data);
  if (place !== 'store')
    return response
      .writeHead(302, {
        'x-linked-etag': `"${etag}"`,
        'x-linked-size': data.length,
        etag: '"other"',
        location: `${endpoint.replace('127.0.0.1', 'localhost')}/store/${encodeURIComponent(name!)}`,
      })
      .end();
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
  if (request.headers.range) response.setHeader('content-range', `bytes ${start}-${data.length - 1}/${data.length}`);
  return response
    .writeHead(request.headers.range ? 206 : 200, { 'content-length': data.length - start })
    .end(data.subarray(start));
}

function refuse(response: ServerResponse, status: number, code: string): true {
  response.writeHead(status, { 'x-error-code': code }).end();
  return true;
}

async function read(source: FileSource, path: string): Promise<Uint8Array> {
  const file = await source.open(path);
  try {
    return await file.read(0, file.size);
  } finally {
    await file.close();
  }
}

const open = (options = {}) => hub('org/name', { endpoint, cacheDir, ...options });
const large = 'unet/weights #1.safetensors';
const inCache = (path: string) => join(cacheDir, 'models--org--name', path);

describe('hub', () => {
  it('downloads a file once, when it is opened, into the cache layout of Python', async () => {
    const source = open();
    expect(requests).toEqual([]);
    expect(await source.has('config.json')).toBe(true);
    expect(await source.has('unet')).toBe(false);
    expect(await subfolder(source, 'unet').list()).toEqual(['config.json', 'weights #1.safetensors']);
    expect(requests).toEqual(['GET /api/models/org/name/revision/main']);

    const [first, second] = await Promise.all([read(source, large), read(source, large)]);
    expect(sha256(first)).toBe(etag);
    expect(sha256(second)).toBe(etag);
    expect(requests.filter((request) => request.startsWith('GET /store'))).toHaveLength(1);

    expect(await readFile(inCache('refs/main'), 'utf8')).toBe(commit);
    expect(await readlink(inCache(`snapshots/${commit}/${large}`))).toBe(`../../../blobs/${etag}`);
    expect(await readdir(inCache('blobs'))).toEqual([etag]);
    expect(await readText(source, 'config.json')).toBe('{"a": 1}');
    expect(await readlink(inCache(`snapshots/${commit}/config.json`))).toBe(`../../blobs/${sha1('config.json')}`);
  });

  it('requests only the revision when the file is cached, and nothing offline', async () => {
    await read(open(), large);
    requests = [];
    await read(open(), large);
    expect(requests).toEqual(['GET /api/models/org/name/revision/main']);
    requests = [];
    expect(sha256(await read(open({ localFilesOnly: true }), large))).toBe(etag);
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    expect(await open().has(large)).toBe(true);
    expect(await open({ revision: commit }).has(large)).toBe(true);
    expect(requests).toEqual([]);
  });

  it('uses a blob that another revision downloaded', async () => {
    await mkdir(inCache('blobs'), { recursive: true });
    await writeFile(inCache(`blobs/${etag}`), weights);
    expect(sha256(await read(open({ revision: 'refs/pr/1' }), large))).toBe(etag);
    expect(await readFile(inCache('refs/refs/pr/1'), 'utf8')).toBe(commit);
    expect(requests.some((request) => request.startsWith('GET /store'))).toBe(false);
  });

  it('reports progress', async () => {
    const progress: DownloadProgress[] = [];
    await read(open({ onProgress: (step: DownloadProgress) => progress.push(step) }), large);
    expect(progress[0]).toEqual({ id: 'org/name', path: large, received: 0, total: weights.length });
    expect(progress.at(-1)!.received).toBe(weights.length);
    expect(progress.map(({ received }) => received)).toEqual(
      progress.map(({ received }) => received).sort((a, b) => a - b),
    );
  });

  it('takes folders, endpoint and token from the environment', async () => {
    vi.stubEnv('HF_ENDPOINT', `${endpoint}/`);
    vi.stubEnv('HF_HOME', join(cacheDir, 'home'));
    await mkdir(join(cacheDir, 'home'));
    await writeFile(join(cacheDir, 'token'), 'from-file\n');
    vi.stubEnv('HF_TOKEN_PATH', join(cacheDir, 'token'));
    await readText(hub('org/name'), 'config.json');
    expect(await readdir(join(cacheDir, 'home/hub'))).toEqual(['models--org--name']);
    expect(authorized.at(-1)).toBe('Bearer from-file');
    vi.stubEnv('HF_TOKEN', 'from-variable');
    vi.stubEnv('HF_HUB_CACHE', join(cacheDir, 'elsewhere'));
    await readText(hub('org/name'), 'config.json');
    expect(await readdir(join(cacheDir, 'elsewhere'))).toEqual(['models--org--name']);
    expect(authorized.at(-1)).toBe('Bearer from-variable');
    await hub('org/name', { token: 'given' }).list();
    expect(authorized.at(-1)).toBe('Bearer given');
    await writeFile(join(cacheDir, 'token'), '\n');
    vi.stubEnv('HF_TOKEN', '');
    await hub('org/name').list();
    expect(authorized.at(-1)).toBeUndefined();
  });

  it('sends the token to the hub and not to the store', async () => {
    await read(open({ token: 'secret' }), large);
    const toStore = authorized.filter((_, i) => requests[i]!.includes('/store/'));
    expect(toStore).toEqual([undefined]);
    expect(authorized.filter((value) => value === 'Bearer secret')).toHaveLength(requests.length - 1);
  });

  it('knows the new id of a repository that moved', async () => {
    expect(hub('runwayml/stable-diffusion-v1-5').location).toBe('stable-diffusion-v1-5/stable-diffusion-v1-5');
  });
});

describe('hub, interrupted', () => {
  const cut = (at: number, times: number) => (request: IncomingMessage, response: ServerResponse) => {
    if (!request.url!.startsWith('/store/') || times-- <= 0) return false;
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    if (start) response.setHeader('content-range', `bytes ${start}-${weights.length - 1}/${weights.length}`);
    response.writeHead(start ? 206 : 200, { 'content-length': weights.length - start });
    response.write(weights.subarray(start, start + at), () => setTimeout(() => response.destroy(), 20));
    return true;
  };

  it('resumes where the connection broke', async () => {
    misbehave = cut(100_000, 2);
    expect(sha256(await read(open(), large))).toBe(etag);
    expect(
      requests.filter((request) => request.startsWith('GET /store')).map((request) => request.split(' ')[2]),
    ).toEqual([undefined, 'bytes=100000-', 'bytes=200000-']);
  });

  it('resumes in a later run', async () => {
    misbehave = cut(10_000, 5);
    await expect(read(open(), large)).rejects.toThrow(
      /^hub: the download of 'unet\/weights #1\.safetensors' of 'org\/name' was interrupted\. Try again/,
    );
    expect(await readdir(inCache('blobs'))).toEqual([`${etag}.incomplete`]);
    expect(sha256(await read(open(), large))).toBe(etag);
    expect(requests.at(-1)).toMatch(/ bytes=50000-$/);
    expect(await readdir(inCache('blobs'))).toEqual([etag]);
  });

  it('starts again where the server ignores ranges', async () => {
    await mkdir(inCache('blobs'), { recursive: true });
    await writeFile(inCache(`blobs/${etag}.incomplete`), 'rubbish');
    misbehave = (request, response) =>
      request.url!.startsWith('/store/') && Boolean(response.writeHead(200).end(weights));
    expect(sha256(await read(open(), large))).toBe(etag);
  });

  it('removes a file whose sha256 is wrong', async () => {
    await mkdir(inCache('blobs'), { recursive: true });
    await writeFile(
      inCache(`blobs/${etag}.incomplete`),
      weights.map((byte, i) => (i === 5 ? byte ^ 1 : byte)).subarray(0, 1000),
    );
    const source = open();
    await expect(read(source, large)).rejects.toThrow(
      new RegExp(`got sha256 [0-9a-f]{64}, expected ${etag}: it was damaged on the way`),
    );
    expect(await readdir(inCache('blobs'))).toEqual([]);
    expect(sha256(await read(source, large))).toBe(etag);
  });

  it('uses the cache when the hub cannot be reached', async () => {
    await read(open(), large);
    await stop();
    expect(sha256(await read(open(), large))).toBe(etag);
    await expect(read(open(), 'config.json')).rejects.toThrow(
      /^hub: 'config\.json' of 'org\/name' is not in the cache '.*'\. hub: no answer from http/,
    );
  });
});

describe('hub, refused', () => {
  it.each([
    [
      401,
      'RepoNotFound',
      "hub: 'org/name' got 401 from .*: there is no such repository, or it is private\\. .* set HF_TOKEN",
    ],
    [404, 'RepoNotFound', "hub: 'org/name' got 404 from .*: there is no such repository"],
    [404, 'RevisionNotFound', "hub: revision 'main' of 'org/name' got 404 from .*: it does not exist"],
    [
      401,
      'GatedRepo',
      "hub: 'org/name' got 401 from .*: it is gated\\. Accept its conditions at http://.*/org/name, then set HF_TOKEN",
    ],
    [403, '', "hub: 'org/name' got 403 from .*: it is gated"],
    [429, '', "hub: 'org/name' got 429 from .*\\. Wait, or set HF_TOKEN"],
    [500, '', "hub: 'org/name' got 500 from .*\\. Try again later"],
  ])('says what to do about status %d %s', async (status, code, message) => {
    misbehave = (_, response) => refuse(response, status, code);
    await expect(open().list()).rejects.toThrow(new RegExp(`^${message}`));
    misbehave = () => false;
  });

  it('reports a gated file of a visible repository', async () => {
    misbehave = (request, response) => request.url!.includes('/resolve/') && refuse(response, 403, 'GatedRepo');
    await expect(open().open('config.json')).rejects.toThrow(
      /^hub: 'config\.json' of 'org\/name' got 403 from .*: it is gated/,
    );
  });

  it('lists the files of the repository where one is missing', async () => {
    await expect(open().open('nope.json')).rejects.toThrow(
      "hub: 'nope.json' of 'org/name' does not exist in revision 'main'. " +
        'It has config.json, unet/config.json, unet/weights #1.safetensors.',
    );
  });

  it('tries again after a failure', async () => {
    misbehave = (_, response) => refuse(response, 500, '');
    const source = open();
    await expect(source.list()).rejects.toThrow();
    misbehave = () => false;
    expect(await source.list()).toEqual(['config.json']);
  });

  it('refuses an answer that is not of a hub', async () => {
    misbehave = (_, response) => Boolean(response.end('<html>'));
    await expect(open().list()).rejects.toThrow(/got another answer, expected a repository's commit and files/);
  });

  it('reports a missing file and the reason for sending no request when offline', async () => {
    await expect(open({ localFilesOnly: true }).list()).rejects.toThrow(
      /^hub: revision 'main' of 'org\/name' is not in the cache '.*models--org--name'\. This is an offline run/,
    );
    expect(requests).toEqual([]);
  });

  it.each(['name', 'a/b/c', '/a/b', './a', '../a', 'a/..', ''])('refuses the id %j', (id) => {
    expect(() => hub(id)).toThrow(`hub: id got '${id}', expected 'organisation/name'.`);
  });
});

describe('resolveSource', () => {
  it('resolves a folder or a hub id, and refuses anything else', async () => {
    const source = open();
    expect(await resolveSource(source)).toBe(source);
    expect((await resolveSource(cacheDir)).location).toBe(cacheDir);
    expect((await resolveSource('org/name', { revision: 'v1' })).location).toBe('org/name@v1');
    await expect(resolveSource('/no/such/folder')).rejects.toThrow(
      "resolveSource: location got '/no/such/folder', expected an existing folder or a hub id",
    );
    await writeFile(join(cacheDir, 'file'), '');
    await expect(resolveSource(join(cacheDir, 'file'))).rejects.toThrow(/got the file '.*', expected a folder/);
  });
});
