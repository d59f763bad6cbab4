import { tensor4d } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import { decodePng } from '@alignprop/diffusion';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { stepMetrics } from '../__fixtures__/metrics.js';
import { startTrackioServer, writeToken, type TrackioServer } from '../__fixtures__/trackio-server.js';
import { trackioTracker } from './trackio.js';

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

let server: TrackioServer;
beforeEach(async () => void (server = await startTrackioServer()));
afterEach(() => server.close());
beforeAll(() => useBackend('cpu'));

const posted = (path: string) => server.posted(path) as readonly Logs[];
/** A tracker that collects the messages of failed requests. */
async function startTracker(token: string) {
  const failures: string[] = [];
  const onFailure = ({ message }: Error) => void failures.push(message);
  const tracker = await trackioTracker({ ...options, url: server.url, writeToken: token, onFailure });
  return { tracker, failures };
}
const options = { project: 'my.project', run: 'first', config: { seed: 3 } };

describe('trackioTracker', () => {
  it('sends every step, and the configuration with the first one', async () => {
    const tracker = await trackioTracker({ ...options, url: `${server.url}?write_token=${writeToken}` });
    await tracker.log(stepMetrics(0));
    await tracker.log(stepMetrics(1));
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

  it('uploads images, and logs their paths on the server', async () => {
    const tracker = await trackioTracker({ ...options, url: server.url, writeToken });
    const images = tensor4d([1, 0, 0, 0, 0, 1], [1, 1, 2, 3]);
    await tracker.logImages!(images, ['a crab'], 4);
    expect(server.requests.map(({ path }) => path)).toEqual([
      '/version',
      '/api/upload',
      '/api/bulk_upload_media',
      '/api/bulk_log',
    ]);
    const { body } = server.requests[1]!;
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

  it('continues when the server fails, and sends the failed entries with the next ones or on close', async () => {
    const { tracker, failures } = await startTracker(writeToken);
    server.failures = 1;
    await tracker.log(stepMetrics(0));
    expect(failures).toEqual([expect.stringMatching(/api\/bulk_log answered 500: disk I\/O error/)]);
    await tracker.log(stepMetrics(1));
    expect(posted('/api/bulk_log')[1]!.logs.map(({ step }) => step)).toEqual([0, 1]);
    server.failures = 1;
    await tracker.log(stepMetrics(2));
    await tracker.close();
    expect(
      posted('/api/bulk_log')
        .at(-1)!
        .logs.map(({ step }) => step),
    ).toEqual([2]);
  });

  it("reports the server's answer to a wrong token", async () => {
    const { tracker, failures } = await startTracker('guess');
    await tracker.log(stepMetrics(0));
    expect(failures.join()).toMatch(/answered 400: A write_token is required/);
  });

  it('refuses to start where no server answers', async () => {
    await server.close();
    await expect(trackioTracker({ ...options, url: server.url })).rejects.toThrow(
      /no Trackio server at http:\/\/127\.0\.0\.1:\d+\/: .*trackio show/,
    );
    server = await startTrackioServer();
  });
});
