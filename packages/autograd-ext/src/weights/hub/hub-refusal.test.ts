import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { dirname } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { commit, etag, large, read, refuse, sha1, sha256, useFaultyHub } from './__fixtures__/faulty-hub.js';
import { hub } from './hub.js';

const mock = useFaultyHub();

/** Makes the hub refuse every request, or those whose URL contains a part. */
function refuseAll(status: number, code = '', headers: Readonly<Record<string, string>> = {}, part = ''): void {
  mock().misbehave = (request, response) => request.url!.includes(part) && refuse(response, status, code, headers);
}

describe('a refusal without a copy in the cache', () => {
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
    refuseAll(status, code);
    await expect(mock().open().list()).rejects.toThrow(new RegExp(`^${message}`));
    const isTransient = status === 429 || status === 500;
    expect(mock().requests).toHaveLength(isTransient ? 6 : 1); // once, then up to five times with pauses
  });

  it.each([408, 429, 500, 503])('is tried again after status %d', async (status) => {
    let refusals = 3;
    mock().misbehave = (_, response) => refusals-- > 0 && refuse(response, status, '', { 'retry-after': '0' });
    expect(await mock().open().list()).toEqual(['config.json']);
    let more = 3;
    mock().misbehave = (request, response) =>
      request.method === 'HEAD' && more-- > 0 && refuse(response, status, '', { ratelimit: '"resolvers";r=0;t=0' });
    expect(sha256(await read(mock().open(), large))).toBe(etag);
  });

  it('is not tried again if the hub asks to wait for more than a minute', async () => {
    refuseAll(429, '', { 'retry-after': '61' });
    await expect(mock().open().list()).rejects.toThrow(/got 429/);
  });

  it('reports a gated file of a visible repository', async () => {
    refuseAll(403, 'GatedRepo', {}, '/resolve/');
    await expect(mock().open().open('config.json')).rejects.toThrow(
      /^hub: 'config\.json' of 'org\/name' got 403 from .*: it is gated/,
    );
  });

  it('lists the files of the repository where one is missing, and records that it is', async () => {
    await expect(mock().open().open('nope.json')).rejects.toThrow(
      "hub: 'nope.json' of 'org/name' does not exist in revision 'main'. " +
        'It has config.json, unet/config.json, unet/weights #1.safetensors.',
    );
    expect(await readFile(mock().inCache(`.no_exist/${commit}/nope.json`), 'utf8')).toBe('');
    await read(mock().open(), large);
    await expect(mock().open({ localFilesOnly: true }).open('nope.json')).rejects.toThrow(
      "hub: 'nope.json' of 'org/name' does not exist in revision 'main'. Check the name.",
    );
  });

  it('is forgotten at the next call', async () => {
    refuseAll(404, 'RepoNotFound');
    const source = mock().open();
    await expect(source.list()).rejects.toThrow();
    mock().misbehave = () => false;
    expect(await source.list()).toEqual(['config.json']);
  });

  it('is reported if something else than a hub answers', async () => {
    mock().misbehave = (_, response) => Boolean(response.end('<html>'));
    await expect(mock().open().list()).rejects.toThrow(/got another answer, expected a repository's commit and files/);
  });

  it('reports a missing file and the reason for sending no request when offline', async () => {
    await expect(mock().open({ localFilesOnly: true }).list()).rejects.toThrow(
      /^hub: revision 'main' of 'org\/name' is not in the cache '.*models--org--name'\. This is an offline run/,
    );
    expect(mock().requests).toEqual([]);
  });

  it.each(['name', 'a/b/c', '/a/b', './a', '../a', 'a/..', ''])('refuses the id %j', (id) => {
    expect(() => hub(id)).toThrow(`hub: id got '${id}', expected 'organisation/name'.`);
  });
});

describe('a copy in the cache', () => {
  let warnings: string[];
  const open = (timeout?: number) => mock().open({ onWarning: (message) => warnings.push(message), timeout });

  beforeEach(async () => {
    warnings = [];
    await read(mock().open(), large);
  });

  const failures: [failure: string, (request: IncomingMessage, response: ServerResponse) => unknown][] = [
    ...([401, 403, 404, 408, 429, 500, 502, 503, 504] as const).map((status): (typeof failures)[number] => [
      `status ${status}`,
      (_, response) => refuse(response, status, ''),
    ]),
    ['RepoNotFound', (_, response) => refuse(response, 404, 'RepoNotFound')],
    ['GatedRepo', (_, response) => refuse(response, 403, 'GatedRepo')],
    ['a web page', (_, response) => response.end('<html>')],
    ['a broken connection', (request) => request.socket.destroy()],
    ['no answer', () => {}],
    ['a redirect in a circle', (_, response) => response.writeHead(302, { location: '/' }).end()],
  ];
  it.each(failures)('is used at once, with a warning, when the hub answers with %s', async (_, answer) => {
    mock().misbehave = (request, response) => {
      answer(request, response);
      return true;
    };
    mock().requests.length = 0;
    expect(sha256(await read(open(0.3), large))).toBe(etag);
    expect(warnings).toEqual([expect.stringMatching(/^hub: .* Using the files of the cache\.$/s)]);
    expect(mock().requests.filter((line) => line.includes('/api/'))).toHaveLength(1);
  });

  it('is used when the hub is not there; a file that it lacks is an error that says so', async () => {
    await mock().stop();
    expect(sha256(await read(open(), large))).toBe(etag);
    await expect(read(open(), 'config.json')).rejects.toThrow(
      /^hub: 'config\.json' of 'org\/name' is not in the cache '.*'\. hub: no answer from http/,
    );
  });

  it('is not used if the hub says that the revision does not exist', async () => {
    refuseAll(404, 'RevisionNotFound');
    await expect(open().list()).rejects.toThrow(/^hub: revision 'main' of 'org\/name' got 404/);
  });

  it('stays in use until a file of the next commit is there', async () => {
    mock().commit = sha1('the next commit');
    refuseAll(403, 'GatedRepo', {}, '/resolve/');
    await expect(read(open(), large)).rejects.toThrow(/it is gated/);
    expect(sha256(await read(mock().open({ localFilesOnly: true }), large))).toBe(etag);
  });

  it('is used if it cannot be written', async () => {
    // A file in place of each folder: root could write to a folder without permissions.
    await rm(mock().inCache('refs'), { recursive: true });
    await writeFile(mock().inCache('refs'), '');
    expect(sha256(await read(open(), large))).toBe(etag);
    expect(warnings).toEqual([expect.stringMatching(/^hub: cannot update the cache\. writeFileAtomic: cannot write/)]);
  });

  it('is an error that says so if it cannot be written and lacks a file', async () => {
    await rm(mock().inCache('blobs'), { recursive: true });
    await writeFile(mock().inCache('blobs'), '');
    await expect(read(open(), 'config.json')).rejects.toThrow(
      /^hub: cannot write '.*': ENOTDIR: .*, 0\.0 MB are missing\. Free space on the disk, check the folder's/,
    );
  });

  it('is repaired where it links to a blob that is gone', async () => {
    const link = mock().inCache(`snapshots/${commit}/config.json`);
    await mkdir(dirname(link), { recursive: true });
    await symlink('../../blobs/gone', link);
    expect(await read(open(), 'config.json')).toHaveLength(8);
    expect(warnings).toEqual([]);
  });
});
