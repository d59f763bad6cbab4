import { stripVTControlCharacters } from 'node:util';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { withDownloads } from './downloads.js';
import { Output, type OutputOptions } from './output.js';

const printed = captureOutput();
const path = 'unet/diffusion_pytorch_model.safetensors';
const { isTTY, columns } = process.stderr;
let now: number;

beforeEach(() => {
  now = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => now);
});
afterEach(() => {
  Object.assign(process.stderr, { isTTY, columns });
  vi.unstubAllEnvs();
});

const useTerminal = () => Object.assign(process.stderr, { isTTY: true, columns: 80 });

/** Downloads 5 of 1500 MB that an earlier run left, and the rest in 30 s; and a small file at the same time. */
const load = (options: OutputOptions = {}) =>
  withDownloads(new Output(options), ({ progress, onWarning }) => {
    const large = { id: 'org/name', path, total: 1.5e9 };
    progress!({ ...large, received: 5e6 });
    onWarning!('a warning');
    now = 10_000;
    progress!({ ...large, received: 505e6 });
    progress!({ id: 'org/name', path: 'config.json', received: 0, total: 800 });
    progress!({ id: 'org/name', path: 'config.json', received: 800, total: 800 });
    now = 10_050;
    progress!({ ...large, received: 506e6 });
    now = 29_900;
    progress!({ ...large, received: 1.5e9 });
    return Promise.resolve('loaded');
  });

/** Returns the lines that a terminal was told to draw. */
const drawn = () => stripVTControlCharacters(printed.stderr).split(/[\r\n]+|(?=Downloading)/);

describe('withDownloads', () => {
  it('draws a bar with the size, the rate and the time left in a terminal', async () => {
    useTerminal();
    expect(await load()).toBe('loaded');
    const lines = drawn().map((line) => line.replace(/[█░]+/, '▒').trim());
    const name = 'Downloading unet/diffus….safetensors';
    expect(lines).toContain(`${name} 505.0 MB/1.5 GB ▒ 50.0 MB/s, 0:20 left`);
    expect(lines).toContain('Downloading config.json (0.8 kB)');
    expect(lines).toContain('warning: a warning');
    expect(lines).toContain(`${name} 1.5 GB/1.5 GB ▒ 50.0 MB/s`);
    expect(Math.max(...drawn().map((line) => line.length))).toBeLessThanOrEqual(80);
    expect(lines.filter((line) => line.includes('506'))).toEqual([]); // drawn 50 ms before
    expect(printed.stdout).toBe('');
  });

  const lines = [`Downloading ${path} (1.5 GB)`, 'warning: a warning', 'Downloading config.json (0.8 kB)', ''];
  it('names each file in a line where there is no terminal', async () => {
    process.stderr.isTTY = false;
    await load();
    expect(stripVTControlCharacters(printed.stderr).split('\n')).toEqual(lines);
  });

  it('draws no bar with HF_HUB_DISABLE_PROGRESS_BARS', async () => {
    useTerminal();
    vi.stubEnv('HF_HUB_DISABLE_PROGRESS_BARS', '1');
    await load();
    expect(stripVTControlCharacters(printed.stderr).split('\n')).toEqual(lines);
  });

  it.each([true, false])('prints only the warning with --quiet, in a terminal: %s', async (isTerminal) => {
    process.stderr.isTTY = isTerminal;
    await load({ quiet: true });
    expect(stripVTControlCharacters(printed.stderr)).toBe('warning: a warning\n');
  });

  it('ends the line of the bar when loading fails', async () => {
    useTerminal();
    const failing = withDownloads(new Output(), ({ progress }) => {
      progress!({ id: 'org/name', path, received: 0, total: 1e6 });
      return Promise.reject(new Error('broken'));
    });
    await expect(failing).rejects.toThrow('broken');
    expect(printed.stderr.endsWith('\n')).toBe(true);
  });
});
