import { excerpt, parseJson, readBody, record } from '@alignprop/autograd-ext/outside';
import type { Tensor4D } from '@tensorflow/tfjs-core';
import { z } from 'zod';
import { encodePng, toUint8 } from '@alignprop/diffusion';
import { evaluationRecord, metricsRecord } from './metrics.js';
import type { TrackerKind } from './tracker-kind.js';
import type { Tracker } from './tracker.js';

const options = z.strictObject({
  url: z.string().optional().describe('address in place of TRACKIO_SERVER_URL'),
  run: z.string().optional().describe('name of the run in place of run_name'),
});

/** `log_with: 'trackio'`: a Trackio server that is running already. */
export const trackio = {
  description: 'a running Trackio server',
  options,
  packages: [],
  create({ folder, config, warn }, given) {
    const { url, run } = options.parse(given ?? {});
    const folderName = folder?.path.split(/[\\/]/).findLast(Boolean);
    return trackioTracker({
      url,
      project: config.tracker_project_name,
      run: run ?? (config.run_name || folderName || config.exp_name),
      config,
      onFailure: ({ message }) => warn(`${message}. It is sent again with the next step.`),
    });
  },
} satisfies TrackerKind;

export interface TrackioOptions {
  /** The dashboard's URL, as `trackio.show()` prints it; by default TRACKIO_SERVER_URL or http://127.0.0.1:7860. */
  url?: string;
  project: string;
  /** Name of the run. The server appends to a run of this name if it has one. */
  run: string;
  /** Hyper-parameters. */
  config?: Readonly<Record<string, unknown>>;
  /** The `write_token` of the dashboard; by default the one in the URL, or TRACKIO_WRITE_TOKEN. */
  writeToken?: string;
  /** Milliseconds after which a request fails. */
  timeout?: number;
  /** Called when a request fails. Its log entries are sent again with the next request; its images are not. */
  onFailure?: (error: Error) => void;
}

interface LogEntry {
  readonly project: string;
  readonly run: string;
  readonly metrics: Readonly<Record<string, unknown>>;
  readonly step: number;
  readonly config?: Readonly<Record<string, unknown>>;
  /** The server ignores an entry whose id it has already. */
  readonly log_id: string;
}

/**
 * Sends metrics and images to a running Trackio server over its HTTP API, version 1: `/version`, `/api/bulk_log`,
 * `/api/upload` and `/api/bulk_upload_media`, as Trackio's Python client does. Python is not needed. Experimental: it
 * reaches dashboards on this or another machine by their write token, not Spaces that need a Hugging Face login.
 * Training continues when the server stops answering.
 * @throws if no Trackio server answers at the URL when training starts
 */
export async function trackioTracker({
  url,
  project,
  run,
  config = {},
  writeToken,
  timeout = 10_000,
  onFailure = () => {},
}: TrackioOptions): Promise<Tracker> {
  const server = connection(url ?? process.env.TRACKIO_SERVER_URL ?? 'http://127.0.0.1:7860', writeToken, timeout);
  await server.check();
  let unsent: LogEntry[] = [];
  let isConfigSent = false;

  async function send(metrics: LogEntry['metrics'], step: number): Promise<void> {
    unsent.push({ project, run, metrics, step, log_id: crypto.randomUUID(), ...(!isConfigSent && { config }) });
    isConfigSent = true;
    await flush();
  }
  const sendRecord = ({ global_step, ...values }: Record<string, number>) => send(values, global_step!);
  async function flush(): Promise<void> {
    const logs = unsent;
    if (logs.length === 0) return;
    await server.call('bulk_log', { logs, hf_token: null }).then(() => void (unsent = []), onFailure);
  }
  async function sendImages(tag: string, images: Tensor4D, captions: readonly string[], step: number): Promise<void> {
    const [, height, width] = images.shape;
    const files = (await toUint8(images)).map((pixels) => ({
      name: `${crypto.randomUUID()}.png`,
      png: encodePng(pixels, { height, width }),
    }));
    try {
      const uploads = await Promise.all(
        files.map(async ({ name, png }) => upload(name, await server.upload(name, png), { project, run, step })),
      );
      await server.call('bulk_upload_media', { uploads, hf_token: null });
    } catch (error) {
      return onFailure(error as Error);
    }
    const media = files.map(({ name }, i) => [
      `${tag}/${i}`,
      {
        _type: 'trackio.image',
        file_path: `${folderOf(project)}/${run}/${step}/${name}`,
        caption: captions[i] ?? null,
      },
    ]);
    await send(Object.fromEntries(media) as LogEntry['metrics'], step);
  }
  return {
    log: (step) => {
      const { epoch: _, ...record } = metricsRecord(step);
      return sendRecord(record);
    },
    logEvaluation: (metrics) => sendRecord(evaluationRecord(metrics)),
    logImages: (images, captions, step) => sendImages('images', images, captions, step),
    logEvaluationImages: (images, captions, step) => sendImages('evaluation', images, captions, step),
    close: flush,
  };
}

const upload = (name: string, path: string, where: { project: string; run: string; step: number }) => ({
  ...where,
  run_id: null,
  relative_path: null,
  uploaded_file: { path, orig_name: name, meta: { _type: 'gradio.FileData' } },
});

/** The folder that Trackio derives from a project's name. */
const folderOf = (project: string): string => project.replace(/[^\p{L}\p{N}_-]/gu, '') || 'default';

/** The most bytes of an answer. */
const MAX_ANSWER = 2 ** 20;

/** Requests to the server at a URL. */
function connection(location: string, writeToken: string | undefined, timeout: number) {
  const url = new URL(location);
  const token = writeToken ?? url.searchParams.get('write_token') ?? process.env.TRACKIO_WRITE_TOKEN;
  const base = `${url.origin}${url.pathname.replace(/\/*$/, '/')}`;

  async function request(path: string, init: RequestInit): Promise<Record<string, unknown>> {
    const response = await fetch(base + path, {
      ...init,
      signal: AbortSignal.timeout(timeout),
      headers: { ...init.headers, ...(token && { 'x-trackio-write-token': token }) },
    });
    const body = (await readBody(response, MAX_ANSWER)
      .then(parseJson)
      .catch(() => record())) as Record<string, unknown>;
    if (response.ok && !body.error) return body;
    const reason = typeof body.error === 'string' ? excerpt(body.error) : 'no reason given';
    throw new Error(`trackioTracker: ${base}${path} answered ${response.status}: ${reason}`);
  }
  return {
    call: (name: string, values: object) =>
      request(`api/${name}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(values),
      }),
    /** Uploads a file. @returns its temporary path on the server */
    async upload(name: string, png: Uint8Array): Promise<string> {
      const form = new FormData();
      form.append('files', new Blob([png as Uint8Array<ArrayBuffer>], { type: 'image/png' }), name);
      const { paths } = await request('api/upload', { method: 'POST', body: form });
      return (paths as string[])[0]!;
    },
    async check(): Promise<void> {
      const version = await request('version', {}).catch((cause: unknown) => {
        throw new Error(
          `trackioTracker: no Trackio server at ${base}: ${(cause as Error).message}. ` +
            'Start one with `trackio show`, or set TRACKIO_SERVER_URL.',
          { cause },
        );
      });
      if (version.api_version !== 1)
        throw new Error(
          `trackioTracker: ${base} got API version ${String(version.api_version)}, expected 1. ` +
            'Use another version of Trackio.',
        );
    },
  };
}
