// Runs of the command with secrets in every place that takes one. Nothing that they write or print may hold one.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundleCommand } from '../../../fixtures/bundle-command.js';
import { fixturePath } from '../../../fixtures/index.js';
import { startMockHub, type MockHub } from '../../../fixtures/mock-hub.js';
import { runProgram, type ProgramResult } from '../../../fixtures/run-program.js';
import { temporaryFolder } from '../../../fixtures/temporary-folder.js';

const [folder, programFolder, cache] = [temporaryFolder(), temporaryFolder(), temporaryFolder()];
const requests: { path: string; headers: IncomingHttpHeaders; body: string }[] = [];
/** A Trackio server, and a reward service. */
const server = createServer((request, response) => {
  void text(request).then((body) => {
    requests.push({ path: request.url!, headers: request.headers, body });
    if (request.url === '/score') return response.end('[0.5]');
    if (request.url === '/broken') return response.writeHead(401).end(JSON.stringify(request.headers));
    response.end(JSON.stringify(request.url === '/version' ? { api_version: 1 } : { data: null, paths: ['a.png'] }));
  });
});
let program: string;
let hub: MockHub;
let port: number;

beforeAll(async () => {
  program = await bundleCommand(programFolder);
  writeFileSync(join(folder, 'held-out.txt'), 'crab\n');
  hub = await startMockHub({ 'org/name': fixturePath('sd2-tiny/model') });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ({ port } = server.address() as AddressInfo);
});
afterAll(async () => {
  server.close();
  await hub.close();
});

/** The planted secrets, also as they are sent in headers. */
const secrets = ['hub', 'token', 'reward', 'bearer', 'write', 'option', 'proxy'].map((place) => `planted-${place}`);
const basic = (password: string) => Buffer.from(`me:${password}`).toString('base64');
const planted = [...secrets, ...secrets.map(basic)];

const alignprop = (...args: readonly string[]) => alignpropUnder({}, args);

/** Runs the command under further variables of the environment. */
function alignpropUnder(variables: Record<string, string>, args: readonly string[]): Promise<ProgramResult> {
  const env = {
    DEBUG: '',
    HF_HUB_CACHE: cache,
    HF_ENDPOINT: hub.endpoint.replace('://', '://me:planted-hub@'),
    HF_TOKEN: 'planted-token',
    ALIGNPROP_REWARD_TOKEN: 'planted-bearer',
    ...variables,
  };
  return runProgram(program, args, { cwd: folder, isBundled: true, env });
}

const short = '--height 16 --width 16 --sample-num-steps 1 --truncated-rand-backprop-minmax 0 0 --num-epochs 1'.split(
  ' ',
);
const withSecrets = (path: string) => [
  ...['--eval-reward', `http://me:planted-reward@127.0.0.1:${port}/${path}`, '--eval-freq', '1'],
  ...['--eval-prompts', join(folder, 'held-out.txt'), '--reward-option', 'service.retries=0'],
  ...['--log-with', 'trackio', '--log-image-freq', '1'],
  ...['--tracker-kwargs', JSON.stringify({ trackio: { url: `http://127.0.0.1:${port}/?write_token=planted-write` } })],
];

/** The places of secrets: names of files, or the streams of a process. */
function leaks({ stdout, stderr }: Pick<ProgramResult, 'stdout' | 'stderr'>): string[] {
  const files = [folder, cache].flatMap((root) =>
    readdirSync(root, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name)),
  );
  const texts = [
    ...files.map((file) => [file, readFileSync(file, 'latin1')] as const),
    ...requests.map(({ path, body }) => [`body of ${path}`, body] as const),
    ['stdout', stdout] as const,
    ['stderr', stderr] as const,
  ];
  return texts.flatMap(([place, content]) => planted.filter((secret) => content.includes(secret)).map(() => place));
}

describe('a run with secrets', () => {
  it('sends each where it belongs, and writes and prints none', async () => {
    const run = await alignprop(
      'train',
      '--model',
      'org/name',
      ...short,
      ...withSecrets('score'),
      '--output-dir',
      'run',
    );
    expect(run.stderr).toContain('Next:');
    expect(run.code).toBe(0);
    const sent = (path: string) => requests.find((request) => request.path === path)?.headers;
    expect(sent('/score')?.authorization).toBe(`Basic ${basic('planted-reward')}`);
    expect(sent('/api/bulk_log')?.['x-trackio-write-token']).toBe('planted-write');
    expect(readFileSync(join(folder, 'run/run.json'), 'utf8')).toContain('write_token=<secret>');
    expect(leaks(run)).toEqual([]);
  });

  it('asks for those of the options again when it is resumed', async () => {
    const resumed = await alignprop('resume', 'run', '--num-epochs', '2');
    expect(resumed.stderr).toMatch(
      /--resume-from: --\S+ of the run had a secret, which is not stored with it\. Give --/,
    );
    expect(resumed.code).toBe(2);
    const given = await alignprop('resume', 'run', '--num-epochs', '2', ...withSecrets('score'));
    expect(given.code).toBe(0);
    expect(given.stderr).not.toContain('changes from');
    expect(leaks(given)).toEqual([]);
  });

  it.each([
    ['a reward refuses and repeats the headers', () => ['--model', 'org/name', ...withSecrets('broken')], /HTTP 401/],
    ['there is no such model', () => ['--model', 'org/other', ...withSecrets('score')], /got 401 from http:/],
    ['a reward has no such address', () => ['--reward', 'http://me:planted-reward@nowhere.invalid/'], /<secret>@nowh/],
    ['an option is unknown', () => ['--reward-option', 'clip.api_key=planted-option'], /option|reward/i],
  ])('prints none when %s, with its causes', async (_, args, message) => {
    const failed = await alignprop('--debug', 'train', ...short, ...args(), '--output-dir', `failed-${Math.random()}`);
    expect(failed.stderr).toMatch(message);
    expect(failed.code).not.toBe(0);
    expect(leaks(failed)).toEqual([]);
  });

  it('prints none when a proxy with a password does not answer', async () => {
    const HTTP_PROXY = 'http://me:planted-proxy@127.0.0.1:9';
    const args = ['--debug', 'generate', 'crab', '--model', 'org/uncached', '-o', 'none.png'];
    const failed = await alignpropUnder({ HTTP_PROXY }, args);
    expect(failed.stderr).toMatch(/no answer from http:.*Check the network connection, a proxy/s);
    expect(failed.code).toBe(1);
    expect(leaks(failed)).toEqual([]);
  });
});
