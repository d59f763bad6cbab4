import { mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { maskSecrets } from '../../outside/secrets.js';
import { readText, subfolder } from '../files/file-source.js';
import { resolveSource } from '../resolve-source.js';
import { commit, etag, large, read, refuse, sha1, sha256, useFaultyHub, weights } from './__fixtures__/faulty-hub.js';
import type { DownloadProgress } from './hub-settings.js';
import { hub } from './hub.js';

const mock = useFaultyHub();

describe('hub', () => {
  it('downloads a file once, when it is opened, into the cache layout of Python', async () => {
    const source = mock().open();
    expect(mock().requests).toEqual([]);
    expect(await source.has('config.json')).toBe(true);
    expect(await source.has('unet')).toBe(false);
    expect(await subfolder(source, 'unet').list()).toEqual(['config.json', 'weights #1.safetensors']);
    expect(mock().requests).toEqual(['GET /api/models/org/name/revision/main']);

    const [first, second] = await Promise.all([read(source, large), read(source, large)]);
    expect(sha256(first)).toBe(etag);
    expect(sha256(second)).toBe(etag);
    expect(mock().requests.filter((request) => request.startsWith('GET /store'))).toHaveLength(1);

    expect(await readFile(mock().inCache('refs/main'), 'utf8')).toBe(commit);
    expect(await readlink(mock().inCache(`snapshots/${commit}/${large}`))).toBe(`../../../blobs/${etag}`);
    expect(await readdir(mock().inCache('blobs'))).toEqual([etag]);
    expect(await readText(source, 'config.json')).toBe('{"a": 1}');
    expect(await readlink(mock().inCache(`snapshots/${commit}/config.json`))).toBe(
      `../../blobs/${sha1('config.json')}`,
    );
  });

  it('requests only the revision when the file is cached, and nothing offline', async () => {
    await read(mock().open(), large);
    mock().requests.length = 0;
    await read(mock().open(), large);
    expect(mock().requests).toEqual(['GET /api/models/org/name/revision/main']);
    mock().requests.length = 0;
    expect(sha256(await read(mock().open({ localFilesOnly: true }), large))).toBe(etag);
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    expect(await mock().open().has(large)).toBe(true);
    expect(await mock().open({ revision: commit }).has(large)).toBe(true);
    expect(mock().requests).toEqual([]);
  });

  it('uses a blob that another revision downloaded', async () => {
    await mkdir(mock().inCache('blobs'), { recursive: true });
    await writeFile(mock().inCache(`blobs/${etag}`), weights);
    expect(sha256(await read(mock().open({ revision: 'refs/pr/1' }), large))).toBe(etag);
    expect(await readFile(mock().inCache('refs/refs/pr/1'), 'utf8')).toBe(commit);
    expect(mock().requests.some((request) => request.startsWith('GET /store'))).toBe(false);
  });

  it('reads data sets, beside models of the same id', async () => {
    const dataset = mock().open({ repoType: 'dataset' });
    expect(await readText(dataset, 'config.json')).toBe('{"a": 1}');
    expect(mock().requests.map((line) => line.split(' ')[1])).toEqual([
      '/api/datasets/org/name/revision/main',
      `/datasets/org/name/resolve/${commit}/config.json`,
      `/datasets/org/name/resolve/${commit}/config.json`,
    ]);
    expect(await readdir(mock().cacheDir)).toEqual(['.locks', 'datasets--org--name']);
    await mock().stop();
    expect(await readText(mock().open({ repoType: 'dataset' }), 'config.json')).toBe('{"a": 1}');
    await expect(readText(mock().open(), 'config.json')).rejects.toThrow('is not in the cache');
  });

  it('reports progress', async () => {
    const progress: DownloadProgress[] = [];
    await read(mock().open({ progress: (step: DownloadProgress) => progress.push(step) }), large);
    expect(progress[0]).toEqual({ id: 'org/name', path: large, received: 0, total: weights.length });
    expect(progress.at(-1)!.received).toBe(weights.length);
    expect(progress.map(({ received }) => received)).toEqual(
      progress.map(({ received }) => received).sort((a, b) => a - b),
    );
  });

  it('takes folders, endpoint and token from the environment', async () => {
    vi.stubEnv('HF_ENDPOINT', `${mock().endpoint}/`);
    vi.stubEnv('HF_HOME', join(mock().cacheDir, 'home'));
    await mkdir(join(mock().cacheDir, 'home'));
    await writeFile(join(mock().cacheDir, 'token'), 'from-file\n');
    vi.stubEnv('HF_TOKEN_PATH', join(mock().cacheDir, 'token'));
    await readText(hub('org/name'), 'config.json');
    expect(await readdir(join(mock().cacheDir, 'home/hub'))).toEqual(['.locks', 'models--org--name']);
    expect(mock().authorized.at(-1)).toBe('Bearer from-file');
    vi.stubEnv('HF_TOKEN', 'from-variable');
    vi.stubEnv('HF_HUB_CACHE', join(mock().cacheDir, 'elsewhere'));
    await readText(hub('org/name'), 'config.json');
    expect(await readdir(join(mock().cacheDir, 'elsewhere'))).toEqual(['.locks', 'models--org--name']);
    expect(mock().authorized.at(-1)).toBe('Bearer from-variable');
    await hub('org/name', { token: 'given' }).list();
    expect(mock().authorized.at(-1)).toBe('Bearer given');
    await writeFile(join(mock().cacheDir, 'token'), '\n');
    vi.stubEnv('HF_TOKEN', '');
    await hub('org/name').list();
    expect(mock().authorized.at(-1)).toBeUndefined();
  });

  it.each([
    ['https', 'http'],
    ['http', 'https'],
  ])('is not sent along a redirect from %s to %s', async (from, to) => {
    const sent: (readonly [string, string | null])[] = [];
    vi.stubGlobal('fetch', (url: string, { headers }: RequestInit) => {
      sent.push([new URL(url).protocol, new Headers(headers).get('authorization')]);
      if (url.includes('/api/'))
        return Promise.resolve(Response.json({ sha: commit, siblings: [{ rfilename: 'config.json' }] }));
      const isFirst = url.startsWith(`${from}:`);
      const answer: Record<string, string> = isFirst
        ? { location: `${to}://hub.test/x` }
        : { 'x-error-code': 'EntryNotFound' };
      return Promise.resolve(new Response(null, { status: isFirst ? 302 : 404, headers: answer }));
    });
    const source = mock().open({ endpoint: `${from}://hub.test`, token: 'secret' });
    await expect(read(source, 'config.json')).rejects.toThrow('got 404');
    vi.unstubAllGlobals();
    const bearer = [`${from}:`, 'Bearer secret'];
    expect(sent).toEqual([bearer, bearer, [`${to}:`, null]]);
  });

  it.each(['HF_HOME', 'HF_TOKEN_PATH'])('of a file in %s is masked where a hub repeats it', async (variable) => {
    const path = join(mock().cacheDir, 'token');
    await writeFile(path, `hf_${variable}_planted\n`);
    vi.stubEnv('HF_TOKEN_PATH', '');
    vi.stubEnv(variable, variable === 'HF_HOME' ? mock().cacheDir : path);
    mock().misbehave = ({ headers }, response) =>
      refuse(response, 400, '', { 'x-error-message': `no ${headers.authorization}` });
    const error = await mock()
      .open()
      .list()
      .catch((cause: unknown) => cause as Error);
    expect((error as Error).message).toContain(`Bearer hf_${variable}_planted`);
    expect(maskSecrets((error as Error).message)).toContain('no Bearer <secret>');
  });

  it('sends the token to the hub and not to the store', async () => {
    await read(mock().open({ token: 'secret' }), large);
    const toStore = mock().authorized.filter((_, i) => mock().requests[i]!.includes('/store/'));
    expect(toStore).toEqual([undefined]);
    expect(mock().authorized.filter((value) => value === 'Bearer secret')).toHaveLength(mock().requests.length - 1);
  });

  it.each([
    ['to another host, without a scheme', (port: string) => `//localhost:${port}`],
    ['to another port', (port: string) => `http://127.0.0.1:${port}`],
  ])('are not sent along a redirect %s', async (_, location) => {
    const strangers: IncomingHttpHeaders[] = [];
    const stranger = createServer((request, response) => {
      strangers.push(request.headers);
      response.writeHead(404).end();
    });
    await new Promise<void>((resolve) => stranger.listen(0, resolve));
    const target = location(String((stranger.address() as AddressInfo).port));
    for (const place of ['/revision/', '/resolve/', '/store/']) {
      mock().misbehave = (request, response) => {
        if (!request.url!.includes(place)) return false;
        response.writeHead(302, { location: `${target}${request.url}` }).end();
        return true;
      };
      const endpoint = mock().endpoint.replace('://', '://me:secret@');
      for (const options of [{ token: 'secret' }, { endpoint }])
        await expect(read(mock().open(options), large)).rejects.toThrow(/^(?!.*secret)/);
    }
    stranger.close();
    expect(strangers.length).toBeGreaterThan(2);
    expect(strangers.filter(({ authorization }) => authorization !== undefined)).toEqual([]);
  });

  it('give way to name and password of the endpoint, which no message repeats', async () => {
    const endpoint = mock().endpoint.replace('://', '://me:secret@');
    await read(mock().open({ endpoint, token: 'given' }), 'config.json');
    const basic = `Basic ${Buffer.from('me:secret').toString('base64')}`;
    expect(new Set(mock().authorized)).toEqual(new Set([basic]));
    mock().ids = [];
    await expect(
      mock()
        .open({ endpoint, cacheDir: join(mock().cacheDir, 'empty') })
        .list(),
    ).rejects.toThrow(new RegExp(`got 401 from ${mock().endpoint}:`));
  });

  it.each([
    ['HF_HUB_OFFLINE', 'ON'],
    ['TRANSFORMERS_OFFLINE', '1'],
  ])('sends no request with %s', async (name, value) => {
    vi.stubEnv(name, value);
    await expect(mock().open().list()).rejects.toThrow(/This is an offline run/);
    expect(mock().requests).toEqual([]);
  });

  it('sends no token that the environment or the options forbid', async () => {
    vi.stubEnv('HF_TOKEN', 'secret');
    await mock().open({ token: false }).list();
    vi.stubEnv('HF_HUB_DISABLE_IMPLICIT_TOKEN', '1');
    await mock().open().list();
    await mock().open({ token: 'given' }).list();
    expect(mock().authorized).toEqual([undefined, undefined, 'Bearer given']);
  });

  it.each(['HF_HUB_ETAG_TIMEOUT', 'HF_HUB_DOWNLOAD_TIMEOUT'])('refuses another %s than a number', async (name) => {
    vi.stubEnv(name, 'soon');
    await expect(mock().open().list()).rejects.toThrow(`hub: ${name} got 'soon', expected seconds above 0.`);
    vi.stubEnv(name, '0.5');
    expect(await mock().open().list()).toEqual(['config.json']);
  });

  it('expands variables and the home folder in the path of the cache', async () => {
    vi.stubEnv('SOME_FOLDER', mock().cacheDir);
    await readText(mock().open({ cacheDir: '${SOME_FOLDER}/a' }), 'config.json');
    await readText(mock().open({ cacheDir: '$SOME_FOLDER/b' }), 'config.json');
    vi.stubEnv('HOME', mock().cacheDir);
    await readText(mock().open({ cacheDir: '~/c' }), 'config.json');
    expect(await readdir(mock().cacheDir)).toEqual(['a', 'b', 'c']);
  });
});

describe('resolveSource', () => {
  it('resolves a folder or a hub id, and refuses anything else', async () => {
    const source = mock().open();
    expect(await resolveSource(source)).toBe(source);
    expect((await resolveSource(mock().cacheDir)).location).toBe(mock().cacheDir);
    expect((await resolveSource('org/name', { revision: 'v1' })).location).toBe('org/name@v1');
    await expect(resolveSource('/no/such/folder')).rejects.toThrow(
      "resolveSource: location got '/no/such/folder', expected an existing folder or a hub id",
    );
    await writeFile(join(mock().cacheDir, 'file'), '');
    await expect(resolveSource(join(mock().cacheDir, 'file'))).rejects.toThrow(/got the file '.*', expected a folder/);
  });
});
