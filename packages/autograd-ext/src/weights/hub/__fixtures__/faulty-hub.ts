import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, vi } from 'vitest';
import type { FileSource } from '../../files/file-source.js';
import type { HubOptions } from '../hub-settings.js';
import { hub } from '../hub.js';

export const sha1 = (data: string) => createHash('sha1').update(data).digest('hex');
export const sha256 = (data: Uint8Array) => createHash('sha256').update(data).digest('hex');

export const commit = sha1('a commit');
export const weights = Uint8Array.from({ length: 300_000 }, (_, i) => (i * i) % 251);
export const etag = sha256(weights);
/** The name of the large file. */
export const large = 'unet/weights #1.safetensors';
export const files: Readonly<Record<string, Uint8Array>> = {
  'config.json': new TextEncoder().encode('{"a": 1}'),
  [large]: weights,
  'unet/config.json': new TextEncoder().encode('{}'),
};

/** A hub whose large files are in a separate store, under another host name. */
export class FaultyHub {
  /** The ids of its repositories, all of which have the same files. */
  ids = ['org/name'];
  commit = commit;
  /** May answer instead of the hub: returns whether it did. */
  misbehave: (request: IncomingMessage, response: ServerResponse) => boolean = () => false;
  /** Method, URL and range of every request. */
  readonly requests: string[] = [];
  /** The token of every request. */
  readonly authorized: (string | undefined)[] = [];
  endpoint = '';
  cacheDir = '';
  #cut: { readonly at: number; readonly response: ServerResponse } | undefined;
  readonly #server: Server = createServer((request, response) => {
    this.requests.push([request.method, request.url, request.headers.range].filter(Boolean).join(' '));
    this.authorized.push(request.headers.authorization);
    if (!this.misbehave(request, response)) this.#answer(request, response);
  });

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    this.endpoint = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    this.cacheDir = await mkdtemp(join(tmpdir(), 'hub-'));
  }

  /** Stops to answer. */
  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async remove(): Promise<void> {
    await this.stop();
    await rm(this.cacheDir, { recursive: true });
  }

  /** Opens the repository `org/name`, without waiting between attempts. */
  readonly open = (options: HubOptions = {}): FileSource => this.openId('org/name', options);

  openId(id: string, options: HubOptions = {}): FileSource {
    const progress: HubOptions['progress'] = (file) => {
      if (file.received === this.#cut?.at) this.#cut.response.destroy();
      options.progress?.(file);
    };
    return hub(id, { endpoint: this.endpoint, cacheDir: this.cacheDir, retryDelay: 0, ...options, progress });
  }

  /**
   * Answers with the requested part of a file.
   * @param end the position at which the connection breaks, as soon as the bytes before it have been received
   */
  sendPart(request: IncomingMessage, response: ServerResponse, data: Uint8Array, end?: number): true {
    const start = startOf(request);
    if (start) response.setHeader('content-range', `bytes ${start}-${data.length - 1}/${data.length}`);
    response.writeHead(start ? 206 : 200, { 'content-length': data.length - start, etag: '"of the store"' });
    this.#cut = end === undefined ? undefined : { at: end, response };
    if (end === undefined) response.end(data.subarray(start));
    else if (end === start) response.flushHeaders();
    else response.write(data.subarray(start, end));
    return true;
  }

  /** Returns the path of a file in the cache's folder of `org/name`. */
  readonly inCache = (path: string): string => join(this.cacheDir, 'models--org--name', path);

  /** The ranges of the requests for the large file; undefined for the whole file. */
  get ranges(): (string | undefined)[] {
    return this.requests.filter((line) => line.startsWith('GET /store')).map((line) => line.split(' ')[2]);
  }

  #answer(request: IncomingMessage, response: ServerResponse): unknown {
    const path = decodeURIComponent(request.url!);
    const [, id = '', place, rest] =
      /^\/(?:api\/(?:models|datasets)\/|datasets\/)?([\w-]+\/[\w-]+)\/(revision|resolve)\/(.*)$/.exec(path) ?? [];
    const isStored = path.startsWith('/store/');
    if (!isStored && !this.ids.includes(id)) return refuse(response, 401, 'RepoNotFound');
    if (place === 'revision') {
      if (!['main', 'refs/pr/1'].includes(rest!)) return refuse(response, 404, 'RevisionNotFound');
      const siblings = Object.keys(files).map((rfilename) => ({ rfilename }));
      return response.end(JSON.stringify({ sha: this.commit, siblings }));
    }
    const name = isStored ? path.slice('/store/'.length) : rest!.slice(`${commit}/`.length);
    const data = files[name];
    if (!data) return refuse(response, 404, 'EntryNotFound');
    if (data !== weights)
      return response
        .writeHead(200, { etag: `W/"${sha1(name)}"`, 'content-length': data.length })
        .end(request.method === 'HEAD' ? undefined : data);
    if (isStored) return this.sendPart(request, response, data);
    return response
      .writeHead(302, {
        'x-linked-etag': `"${etag}"`,
        'x-linked-size': data.length,
        'x-xet-hash': sha256(data).split('').reverse().join(''),
        etag: '"other"',
        location: `${this.endpoint.replace('127.0.0.1', 'localhost')}/store/${encodeURIComponent(name)}`,
      })
      .end();
  }
}

/** The first byte that a request asks for. */
export const startOf = (request: IncomingMessage): number =>
  Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);

/** Answers with an error of the hub. */
export function refuse(
  response: ServerResponse,
  status: number,
  code: string,
  headers: Readonly<Record<string, string>> = {},
): true {
  response.writeHead(status, { 'x-error-code': code, ...headers }).end();
  return true;
}

/** Reads a whole file. */
export async function read(source: FileSource, path: string): Promise<Uint8Array> {
  const file = await source.open(path);
  try {
    return await file.read(0, file.size);
  } finally {
    await file.close();
  }
}

const variables = [
  'HF_HOME',
  'HF_HUB_CACHE',
  'HUGGINGFACE_HUB_CACHE',
  'XDG_CACHE_HOME',
  'HF_TOKEN',
  'HUGGING_FACE_HUB_TOKEN',
  'HF_HUB_DISABLE_IMPLICIT_TOKEN',
  'HF_HUB_OFFLINE',
  'TRANSFORMERS_OFFLINE',
  'HF_ENDPOINT',
  'HF_HUB_ETAG_TIMEOUT',
  'HF_HUB_DOWNLOAD_TIMEOUT',
  ...['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'NO_PROXY'].flatMap((name) => [name, name.toLowerCase()]),
];

/** Gives each test a hub and a cache of its own, and an environment without settings of a hub. */
export function useFaultyHub(): () => FaultyHub {
  let mock: FaultyHub;
  beforeEach(async () => {
    mock = new FaultyHub();
    await mock.start();
    for (const name of variables) vi.stubEnv(name, '');
    vi.stubEnv('HF_TOKEN_PATH', join(mock.cacheDir, 'no-token'));
  });
  afterEach(async () => {
    vi.unstubAllEnvs();
    await mock.remove();
  });
  return () => mock;
}
