import { mkdir, readdir, writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { readText } from '../files/file-source.js';
import { etag, files, large, read, refuse, sha256, startOf, useFaultyHub, weights } from './__fixtures__/faulty-hub.js';

const mock = useFaultyHub();

type Misbehaviour = (request: IncomingMessage, response: ServerResponse) => unknown;

/** Answers the first requests for the large file, one after the other, as `answers` says. */
function inTheStore(...answers: Misbehaviour[]): void {
  mock().misbehave = (request, response) => {
    if (!request.url!.startsWith('/store/')) return false;
    const answer = answers.shift();
    answer?.(request, response);
    return answer !== undefined;
  };
}

const cutAt =
  (end: number): Misbehaviour =>
  (request, response) =>
    mock().sendPart(request, response, weights, end);
const stallAt =
  (end: number): Misbehaviour =>
  (request, response) =>
    response.writeHead(200, { 'content-length': weights.length }).write(weights.subarray(startOf(request), end));
const whole: Misbehaviour = (_, response) => response.writeHead(200).end(weights);
const damaged = weights.map((byte, i) => (i === 5 ? byte ^ 1 : byte));
const leave = async (data: Uint8Array): Promise<void> => {
  await mkdir(mock().inCache('blobs'), { recursive: true });
  await writeFile(mock().inCache(`blobs/${etag}.alignprop.incomplete`), data);
};

describe('an interrupted download', () => {
  const half = 'bytes=150000-';
  const cut = cutAt(150_000);
  const cases: [problem: string, answers: Misbehaviour[], ranges: (string | undefined)[]][] = [
    ['the connection broke twice', [cut, cutAt(200_000)], [undefined, half, 'bytes=200000-']],
    ['no byte arrived for some time', [stallAt(150_000)], [undefined, half]],
    ['the store had a fault', [cut, (_, response) => refuse(response, 500, '')], [undefined, half, half]],
    [
      'the store asked to wait',
      [cut, (_, response) => refuse(response, 429, '', { 'retry-after': '0' })],
      [undefined, half, half],
    ],
    ['the store did not answer', [(request) => request.socket.destroy(), () => {}], [undefined, undefined, undefined]],
    ['the answer was truncated', [(_, response) => response.end(weights.subarray(0, 150_000))], [undefined, half]],
  ];
  it.each(cases)('resumes after %s', async (_, answers, ranges) => {
    inTheStore(...answers);
    expect(sha256(await read(mock().open({ timeout: 1 }), large))).toBe(etag);
    expect(mock().ranges).toEqual(ranges);
    expect(await readdir(mock().inCache('blobs'))).toEqual([etag]);
  });

  const restarts: [problem: string, answers: Misbehaviour[], ranges: (string | undefined)[]][] = [
    ['the store ignores ranges', [cut, whole], [undefined, half]],
    ['the range is not in the file', [cut, (_, response) => refuse(response, 416, '')], [undefined, half, undefined]],
    [
      'the store sends another range',
      [cut, (_, response) => response.writeHead(206, { 'content-range': 'bytes 0-299999/300000' }).end(weights), whole],
      [undefined, half, undefined],
    ],
    [
      'the rest is compressed',
      [
        cut,
        (_, response) =>
          response
            .writeHead(206, { 'content-range': 'bytes 150000-299999/300000', 'content-encoding': 'gzip' })
            .end(gzipSync(weights.subarray(150_000))),
      ],
      [undefined, half, undefined],
    ],
    [
      'the parts do not fit each other',
      [(request, response) => mock().sendPart(request, response, damaged, 150_000)],
      [undefined, half, undefined],
    ],
  ];
  it.each(restarts)('starts again where %s', async (_, answers, ranges) => {
    inTheStore(...answers);
    expect(sha256(await read(mock().open(), large))).toBe(etag);
    expect(mock().ranges).toEqual(ranges);
  });

  it('gives up if it starts again and again', async () => {
    const other: Misbehaviour = (_, response) => response.writeHead(206, { 'content-range': 'bytes 7-8/9' }).end();
    inTheStore(...Array.from({ length: 10 }, () => [cut, other]).flat());
    await expect(read(mock().open(), large)).rejects.toThrow(/was interrupted/);
    expect(mock().ranges).toEqual([undefined, half, undefined, half, undefined]);
  });

  it('asks for the rest of the same version of the file', async () => {
    const conditions: (string | undefined)[] = [];
    const note = (answer: Misbehaviour): Misbehaviour => {
      return (request, response) => {
        conditions.push(request.headers['if-range'] as string | undefined);
        answer(request, response);
      };
    };
    inTheStore(note(cut), note(whole));
    await read(mock().open(), large);
    expect(conditions).toEqual([undefined, '"of the store"']);
  });

  it('gives up after five attempts without a byte, and resumes in a later run', async () => {
    inTheStore(cut, ...Array.from({ length: 4 }, () => cutAt(150_000)));
    await expect(read(mock().open(), large)).rejects.toThrow(
      /^hub: the download of 'unet\/weights #1\.safetensors' of 'org\/name' was interrupted\. Try again/,
    );
    expect(mock().ranges).toHaveLength(5);
    expect(await readdir(mock().inCache('blobs'))).toEqual([`${etag}.alignprop.incomplete`]);
    expect(sha256(await read(mock().open(), large))).toBe(etag);
    expect(mock().requests.at(-1)).toMatch(/ bytes=150000-$/);
    expect(await readdir(mock().inCache('blobs'))).toEqual([etag]);
  });

  it('stops when the signal is aborted, with its reason', async () => {
    const controller = new AbortController();
    inTheStore(stallAt(150_000));
    const reason = new Error('enough');
    const progress = ({ received }: { received: number }) => received === 150_000 && controller.abort(reason);
    const source = mock().open({ signal: controller.signal, progress });
    await expect(read(source, large)).rejects.toBe(reason);
    expect(sha256(await read(mock().open(), large))).toBe(etag);
    expect(mock().ranges).toEqual([undefined, half]);
    await expect(mock().open({ signal: controller.signal }).list()).rejects.toBe(reason);
  });

  it('lets files be read that were there when the signal was aborted', async () => {
    const controller = new AbortController();
    const source = mock().open({ signal: controller.signal });
    await read(source, large);
    controller.abort();
    expect(sha256(await read(source, large))).toBe(etag);
    await expect(read(source, 'config.json')).rejects.toBe(controller.signal.reason);
  });
});

describe('a damaged download', () => {
  it('is refused and removed if its sha256 is wrong', async () => {
    inTheStore((request, response) => mock().sendPart(request, response, damaged));
    const source = mock().open();
    await expect(read(source, large)).rejects.toThrow(
      new RegExp(`got sha256 [0-9a-f]{64}, expected ${etag}: it was damaged on the way`),
    );
    expect(await readdir(mock().inCache('blobs'))).toEqual([]);
    expect(sha256(await read(source, large))).toBe(etag);
  });

  it.each([
    ['a part', 1000],
    ['the whole file', 300_000],
  ])('is downloaded again if an earlier run left %s that is wrong', async (_, length) => {
    await leave(damaged.subarray(0, length));
    expect(sha256(await read(mock().open(), large))).toBe(etag);
    expect(await readdir(mock().inCache('blobs'))).toEqual([etag]);
  });

  it('is refused if it is damaged in two attempts that were interrupted', async () => {
    const cutDamaged: Misbehaviour = (request, response) => mock().sendPart(request, response, damaged, 150_000);
    const rest: Misbehaviour = (request, response) => mock().sendPart(request, response, damaged);
    inTheStore(cutDamaged, rest, cutDamaged, rest);
    await expect(read(mock().open(), large)).rejects.toThrow(/it was damaged on the way/);
  });

  it('is refused if it is longer than the hub says', async () => {
    inTheStore((_, response) => response.end(new Uint8Array(300_001)));
    await expect(read(mock().open(), large)).rejects.toThrow(/got 300001 bytes, expected 300000/);
  });

  it('replaces a blob of the wrong size', async () => {
    await mkdir(mock().inCache('blobs'), { recursive: true });
    await writeFile(mock().inCache(`blobs/${etag}`), weights.subarray(0, 1000));
    expect(sha256(await read(mock().open(), large))).toBe(etag);
  });

  it('is not what Python left: its temporary files stay as they are', async () => {
    await mkdir(mock().inCache('blobs'), { recursive: true });
    await writeFile(mock().inCache(`blobs/${etag}.incomplete`), 'of a process that runs');
    expect(sha256(await read(mock().open(), large))).toBe(etag);
    expect(await readdir(mock().inCache('blobs'))).toEqual([etag, `${etag}.incomplete`]);
  });
});

describe('a small file', () => {
  it('may be compressed on the way', async () => {
    const body = gzipSync(files['config.json']!);
    mock().misbehave = (request, response) => {
      if (!request.url!.endsWith('/config.json')) return false;
      const headers = { etag: 'W/"abc"', 'content-encoding': 'gzip', 'content-length': body.length };
      response.writeHead(200, headers).end(request.method === 'HEAD' ? undefined : body);
      return true;
    };
    expect(await readText(mock().open(), 'config.json')).toBe('{"a": 1}');
    expect(await readdir(mock().inCache('blobs'))).toEqual(['abc']);
  });
});
