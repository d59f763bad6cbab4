import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tensor4d } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import { decodePng } from '@alignprop/diffusion';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { trackioTracker } from './trackio.js';

interface Request {
  readonly path: string;
  readonly token: string | string[] | undefined;
  readonly body: Buffer;
}
type Logs = {
  logs: {
    project: string;
    run: string;
    step: number;
    metrics: Record<string, unknown>;
    config?: unknown;
    log_id: string;
  }[];
};

let server: Server;
let url: string;
let requests: Request[];
let failing: number;
/** Answers as trackio/asgi_app.py and trackio/server.py do. */
beforeEach(async () => {
  requests = [];
  failing = 0;
  server = createServer((request, response) => {
    void read(request).then((body) => {
      const path = request.url!;
      const [status, answer] = answerTo(path, request.headers['x-trackio-write-token'], body);
      requests.push({ path, token: request.headers['x-trackio-write-token'], body });
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
});
afterEach(() => new Promise((resolve) => server.close(resolve)));
beforeAll(() => useBackend('cpu'));

function answerTo(path: string, token: unknown, body: Buffer): [number, object] {
  if (path === '/version') return [200, { version: '0.43.0', api_version: 1, api_transport: 'http' }];
  if (token !== 'secret') return [400, { error: 'A write_token is required to log metrics or upload to this server.' }];
  if (failing-- > 0) return [500, { error: 'disk I/O error' }];
  if (path === '/api/upload') return [200, { paths: [`/tmp/trackio-upload-${body.length}.png`] }];
  return ['/api/bulk_log', '/api/bulk_upload_media'].includes(path)
    ? [200, { data: null }]
    : [404, { error: `Unknown API: ${path}` }];
}

async function read(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

const metrics = (globalStep: number) => ({
  epoch: globalStep,
  globalStep,
  rewardMean: 1.5,
  rewardStd: 0.5,
  rewardTerms: {},
  loss: -1.5,
  gradNorm: 2,
  learningRate: 1e-3,
  seconds: 1,
});
const posted = (path: string) =>
  requests.filter((request) => request.path === path).map(({ body }) => JSON.parse(body.toString()) as Logs);
const options = { project: 'my.project', run: 'first', config: { seed: 3 } };

describe('trackioTracker', () => {
  it('sends every step, the configuration with the first', async () => {
    const tracker = await trackioTracker({ ...options, url: `${url}?write_token=secret` });
    await tracker.log(metrics(0));
    await tracker.log(metrics(1));
    await tracker.close();
    const logs = posted('/api/bulk_log').flatMap((body) => body.logs);
    expect(logs.map(({ project, run, step }) => [project, run, step])).toEqual([
      ['my.project', 'first', 0],
      ['my.project', 'first', 1],
    ]);
    expect(logs[0]).toMatchObject({
      config: { seed: 3 },
      metrics: { reward_mean: 1.5, grad_norm: 2, learning_rate: 1e-3 },
    });
    expect(logs[1]!.config).toBeUndefined();
    expect(new Set(logs.map(({ log_id }) => log_id)).size).toBe(2);
  });

  it('uploads images, and logs where the server keeps them', async () => {
    const tracker = await trackioTracker({ ...options, url, writeToken: 'secret' });
    const images = tensor4d([1, 0, 0, 0, 0, 1], [1, 1, 2, 3]);
    await tracker.logImages!(images, ['a crab'], 4);
    expect(requests.map(({ path }) => path)).toEqual([
      '/version',
      '/api/upload',
      '/api/bulk_upload_media',
      '/api/bulk_log',
    ]);
    const { body } = requests[1]!;
    const png = decodePng(body.subarray(body.indexOf('\r\n\r\n') + 4, body.lastIndexOf('\r\n--', body.length - 5)));
    expect([...png.data]).toEqual([255, 0, 0, 0, 0, 255]);
    const [{ uploads }] = posted('/api/bulk_upload_media') as unknown as [
      { uploads: { uploaded_file: { orig_name: string; path: string } }[] },
    ];
    expect(uploads).toMatchObject([
      {
        project: 'my.project',
        run: 'first',
        step: 4,
        uploaded_file: { meta: { _type: 'gradio.FileData' }, path: `/tmp/trackio-upload-${body.length}.png` },
      },
    ]);
    const [{ logs }] = posted('/api/bulk_log') as [Logs];
    expect(logs[0]!.metrics).toEqual({
      'images/0': {
        _type: 'trackio.image',
        file_path: `myproject/first/4/${uploads[0]!.uploaded_file.orig_name}`,
        caption: 'a crab',
      },
    });
  });

  it('goes on without a server that fails, and sends later what it kept', async () => {
    const failures: string[] = [];
    const tracker = await trackioTracker({
      ...options,
      url,
      writeToken: 'secret',
      onFailure: ({ message }) => void failures.push(message),
    });
    failing = 1;
    await tracker.log(metrics(0));
    expect(failures).toEqual([expect.stringMatching(/api\/bulk_log answered 500: disk I\/O error/)]);
    await tracker.log(metrics(1));
    expect(posted('/api/bulk_log')[1]!.logs.map(({ step }) => step)).toEqual([0, 1]);
    failing = 1;
    await tracker.log(metrics(2));
    await tracker.close();
    expect(
      posted('/api/bulk_log')
        .at(-1)!
        .logs.map(({ step }) => step),
    ).toEqual([2]);
  });

  it('says what the server says of a wrong token', async () => {
    const failures: string[] = [];
    const tracker = await trackioTracker({
      ...options,
      url,
      writeToken: 'guess',
      onFailure: ({ message }) => void failures.push(message),
    });
    await tracker.log(metrics(0));
    expect(failures.join()).toMatch(/answered 400: A write_token is required/);
  });

  it('refuses to start without a server', async () => {
    await new Promise((resolve) => server.close(resolve));
    await expect(trackioTracker({ ...options, url })).rejects.toThrow(
      /no Trackio server at http:\/\/127\.0\.0\.1:\d+\/: .*trackio show/,
    );
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
});
