import { encodePng, toUint8 } from '@alignprop/diffusion';
import { evaluationRecord, metricsRecord } from '../step/metrics.js';
import type { Tracker } from './tracker.js';

export interface TrackioOptions {
  /**
   * Where the dashboard runs, as `trackio.show()` prints it; TRACKIO_SERVER_URL or http://127.0.0.1:7860 by default.
   */
  url?: string;
  project: string;
  /** Goes on with a run of this name, if there is one. */
  run: string;
  /** Hyper-parameters. */
  config?: Readonly<Record<string, unknown>>;
  /** The `write_token` of that URL; read from it, or from TRACKIO_WRITE_TOKEN, by default. */
  writeToken?: string;
  /** Milliseconds until a request is given up. */
  timeout?: number;
  /** Told when a request fails: what could not be sent is kept, and sent with what comes next. */
  onFailure?: (error: Error) => void;
}

interface LogEntry {
  readonly project: string;
  readonly run: string;
  readonly metrics: Readonly<Record<string, unknown>>;
  readonly step: number;
  readonly config?: Readonly<Record<string, unknown>>;
  /** The server keeps one entry of each. */
  readonly log_id: string;
}

/**
 * Sends metrics and images to a running Trackio server over its HTTP API (version 1: `/version`, `/api/bulk_log`,
 * `/api/upload`, `/api/bulk_upload_media`), as Trackio's Python client does; no Python is needed here. Experimental: it
 * speaks to dashboards on this or another machine, with their write token, not to Spaces that want a Hugging Face
 * login. Training never stops for a server that went away.
 * @throws if there is no Trackio server at the URL when training starts
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
  let waiting: LogEntry[] = [];
  let told = false;

  async function send(metrics: LogEntry['metrics'], step: number): Promise<void> {
    waiting.push({ project, run, metrics, step, log_id: crypto.randomUUID(), ...(!told && { config }) });
    told = true;
    await flush();
  }
  async function flush(): Promise<void> {
    const logs = waiting;
    if (logs.length === 0) return;
    await server.call('bulk_log', { logs, hf_token: null }).then(() => void (waiting = []), onFailure);
  }
  return {
    log(step) {
      const { epoch: _, global_step, ...values } = metricsRecord(step);
      return send(values, global_step!);
    },
    logEvaluation(metrics) {
      const { global_step, ...values } = evaluationRecord(metrics);
      return send(values, global_step!);
    },
    async logImages(images, captions, step) {
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
      const shown = files.map(({ name }, i) => [
        `images/${i}`,
        {
          _type: 'trackio.image',
          file_path: `${folderOf(project)}/${run}/${step}/${name}`,
          caption: captions[i] ?? null,
        },
      ]);
      await send(Object.fromEntries(shown) as LogEntry['metrics'], step);
    },
    close: flush,
  };
}

const upload = (name: string, path: string, where: { project: string; run: string; step: number }) => ({
  ...where,
  run_id: null,
  relative_path: null,
  uploaded_file: { path, orig_name: name, meta: { _type: 'gradio.FileData' } },
});

/** What Trackio makes of a project's name on the disk. */
const folderOf = (project: string): string => project.replace(/[^\p{L}\p{N}_-]/gu, '') || 'default';

function connection(location: string, givenToken: string | undefined, timeout: number) {
  const url = new URL(location);
  const token = givenToken ?? url.searchParams.get('write_token') ?? process.env.TRACKIO_WRITE_TOKEN;
  const base = `${url.origin}${url.pathname.replace(/\/*$/, '/')}`;

  async function request(path: string, init: RequestInit): Promise<Record<string, unknown>> {
    const response = await fetch(base + path, {
      ...init,
      signal: AbortSignal.timeout(timeout),
      headers: { ...init.headers, ...(token && { 'x-trackio-write-token': token }) },
    });
    const body = (await response.json().catch(() => ({}))) as Record<string, unknown>;
    if (response.ok && !body.error) return body;
    throw new Error(
      `trackioTracker: ${base}${path} answered ${response.status}: ${typeof body.error === 'string' ? body.error : 'no reason given'}`,
    );
  }
  return {
    call: (name: string, values: object) =>
      request(`api/${name}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(values),
      }),
    /** @returns where the server put it for now */
    async upload(name: string, png: Uint8Array): Promise<string> {
      const form = new FormData();
      form.append('files', new Blob([png as Uint8Array<ArrayBuffer>], { type: 'image/png' }), name);
      const { paths } = await request('api/upload', { method: 'POST', body: form });
      return (paths as string[])[0]!;
    },
    async check(): Promise<void> {
      const version = await request('version', {}).catch((cause: unknown) => {
        throw new Error(
          `trackioTracker: no Trackio server at ${base}: ${(cause as Error).message}. Start one with \`trackio show\`, or set TRACKIO_SERVER_URL.`,
          { cause },
        );
      });
      if (version.api_version !== 1)
        throw new Error(
          `trackioTracker: ${base} got API version ${String(version.api_version)}, expected 1. Use another version of Trackio.`,
        );
    },
  };
}
