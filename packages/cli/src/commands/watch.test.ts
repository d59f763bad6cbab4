import { appendFileSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { writeReportRun } from '../../../../fixtures/report-run.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { run } from '../program.js';
import type { ReportContent } from '../report/content.js';

const printed = captureOutput();
const folder = temporaryFolder();
const path = join(folder, 'out');
writeReportRun(path);

/** Runs `use` with the address of the page that is served, and ends the command by a signal. @returns its exit code */
async function watching(
  use: (url: string) => Promise<void>,
  signal: NodeJS.Signals = 'SIGINT',
  ...flags: readonly string[]
): Promise<number> {
  const ended = run(['watch', path, ...flags]);
  const url = await vi.waitFor(() => /http:\S+/.exec(printed.stdout)![0], 5000);
  try {
    await use(url);
  } finally {
    process.emit(signal, signal);
  }
  return ended;
}

type Served = ReportContent & { readonly live: { readonly version: string } };
const contentAt = async (url: string): Promise<Served> => (await fetch(`${url}report.json`)).json() as Promise<Served>;

/** The status of an answer to a request whose header names another host, or that has another method. */
const statusOf = (url: string, options: object): Promise<number> =>
  new Promise((resolve, reject) => {
    request(url, options, (response) => resolve(response.resume().statusCode!))
      .on('error', reject)
      .end();
  });

describe('alignprop watch', () => {
  it('serves the page, its content and its pictures, and ends with 0 at Ctrl-C', async () => {
    const code = await watching(async (url) => {
      expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/);
      const page = await fetch(url);
      expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
      expect(await page.text()).toContain('connect-src &#39;self&#39;');
      const { series } = await contentAt(url);
      const { src } = series[0]!.runs[0]!.shown[0]!.images[0]!;
      expect(src).toMatch(/^pictures\/[\da-f]{64}\.png$/);
      const png = new Uint8Array(await (await fetch(url + src)).arrayBuffer());
      expect([...png.subarray(0, 4)]).toEqual([0x89, 0x50, 0x4e, 0x47]);
    });
    expect(code).toBe(0);
    expect(printed.stderr).toContain('Press Ctrl-C to end.');
  });

  it('has newer content when files have changed, and none before', async () => {
    await watching(async (url) => {
      const { live, charts } = await contentAt(url);
      const since = `${url}report.json?since=${live.version}`;
      expect((await fetch(since)).status).toBe(204);
      appendFileSync(join(path, 'metrics.jsonl'), '{"epoch": 10, "global_step": 10, "loss": 7}\n');
      const newer = (await (await fetch(since)).json()) as Served;
      expect(newer.live.version).not.toBe(live.version);
      const lossOf = (all: typeof charts) => all.find(({ id }) => id === 'loss')!.curves[0]!.y;
      expect(lossOf(newer.charts)).toEqual([...lossOf(charts), 7]);
    });
  });

  it('serves no files, no other names and no other methods', async () => {
    await watching(async (url) => {
      for (const address of [
        'run.json',
        '../out/run.json',
        '..%2frun.json',
        'pictures/../../run.json',
        'samples/step_000000.png',
      ])
        expect(await statusOf(`${url}${address}`, {}), address).toBe(404);
      expect(await statusOf(url, { path: '/../../../../etc/passwd' })).toBe(404);
      expect(await statusOf(url, { headers: { host: 'evil.example' } })).toBe(403);
      expect(await statusOf(url, { method: 'POST' })).toBe(405);
      expect(await statusOf(url, { method: 'HEAD' })).toBe(200);
    });
  });

  it('says that the run is gone, and serves it again once it is back', async () => {
    await watching(async (url) => {
      rmSync(join(path, 'run.json'));
      const gone = await fetch(`${url}report.json`);
      expect([gone.status, await gone.text()]).toEqual([503, expect.stringContaining('expected the folder of a run')]);
      writeReportRun(path);
      expect((await fetch(`${url}report.json`)).status).toBe(200);
    });
  });

  it('refuses folders without a run, ports out of range, and ports in use', async () => {
    expect(await run(['watch', folder])).toBe(2);
    expect(printed.stderr).toContain('error: watch: got');
    expect(await run(['watch', path, '--port', '70000'])).toBe(2);
    await watching(async (url) => {
      expect(await run(['watch', path, '--port', new URL(url).port])).toBe(1);
      expect(printed.stderr).toMatch(/error: --port: cannot serve: .*EADDRINUSE.* Give another port, or 0/);
    });
  });

  it('ends with the code of other signals', async () => {
    expect(await watching(async () => {}, 'SIGTERM')).toBe(143);
  });
});
