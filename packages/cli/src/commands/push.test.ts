import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { fixturePath } from '../../../../fixtures/index.js';
import { PushHub } from '../../../../fixtures/push-hub.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { createMockRun } from '../card/__fixtures__/mock-run.js';
import { run } from '../program.js';

const printed = captureOutput();
const folder = temporaryFolder();
const runFolder = join(folder, 'run');
const hub = new PushHub();
createMockRun(runFolder, { prompt: ['crab'] });

beforeAll(() => hub.start());
afterAll(() => hub.stop());
beforeEach(() => {
  for (const name of ['HF_HUB_OFFLINE', 'HTTP_PROXY', 'http_proxy', 'ALL_PROXY', 'DEBUG']) vi.stubEnv(name, '');
  for (const name of ['HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN']) vi.stubEnv(name, '');
  vi.stubEnv('HF_TOKEN_PATH', join(folder, 'no-token'));
  vi.stubEnv('HF_ENDPOINT', hub.endpoint);
});
afterEach(() => {
  vi.unstubAllEnvs();
  hub.reset();
});

const token = ['--token', hub.token];
/** The places that hold the token: files of the folder, the streams, and what the hub has got in bodies. */
const leaks = (): string[] => {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const texts = files.map(({ parentPath, name }) => [name, readFileSync(join(parentPath, name), 'latin1')] as const);
  const all = [...texts, ['stdout', printed.stdout] as const, ['stderr', printed.stderr] as const];
  const bodies = hub.requests.map(({ path, body }) => [path, body] as const);
  return [...all, ...bodies].filter(([, text]) => text.includes(hub.token)).map(([place]) => place);
};
const pushed = (id: string) => hub.repositories[id]!.branches.main![0]!.files;

describe('alignprop push', () => {
  it('uploads the best adapter, the card, the configuration and pictures, and prints the address', async () => {
    expect(await run(['push', runFolder, '--hub_model_id', 'me/crabs', ...token])).toBe(0);
    expect(printed.stdout).toBe(`Pushed   ${hub.endpoint}/me/crabs\n`);
    const files = pushed('me/crabs');
    expect(Object.keys(files).sort()).toEqual([
      ...['README.md', 'config.json', 'pytorch_lora_weights.safetensors'],
      ...['samples/step_000000.png', 'samples/step_000002.png'],
    ]);
    expect(files['pytorch_lora_weights.safetensors']!.toString()).toBe('the best weights');
    expect(files['README.md']!.toString()).toContain('load_lora_weights("me/crabs", ');
    const config = JSON.parse(files['config.json']!.toString()) as object;
    expect(config).toMatchObject({ sample_num_steps: 20 });
    expect(JSON.stringify(config)).not.toContain(folder);
    expect(leaks()).toEqual([]);
  });

  it('names another repository in the card that it uploads', async () => {
    expect(await run(['push', runFolder, '--hub-model-id', 'me/foxes', '--hf_user_access_token', hub.token])).toBe(0);
    expect(pushed('me/foxes')['README.md']!.toString()).toContain('load_lora_weights("me/foxes", ');
    expect(leaks()).toEqual([]);
  });

  it('lists the files with --dry-run, and sends nothing', async () => {
    expect(await run(['push', runFolder, '--dry-run', '--json'])).toBe(0);
    const records = printed.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as object);
    expect(records).toContainEqual({ event: 'file', path: 'pytorch_lora_weights.safetensors', size: 16 });
    expect(records).toHaveLength(5);
    expect(hub.requests).toEqual([]);
  });

  it('takes the repository, its visibility and the branch from the run, and the token from the file', async () => {
    const other = join(folder, 'other');
    createMockRun(other, { hubModelId: 'me/other', hubPrivate: true, hubRevision: 'v2' });
    const path = join(folder, 'token');
    writeFileSync(path, `${hub.token}\n`);
    vi.stubEnv('HF_TOKEN_PATH', path);
    expect(await run(['push', other, '--json'])).toBe(0);
    expect(JSON.parse(printed.stdout)).toMatchObject({ event: 'pushed', url: `${hub.endpoint}/me/other/tree/v2` });
    expect(hub.repositories['me/other']).toMatchObject({ isPrivate: true });
    rmSync(path);
    expect(leaks()).toEqual([]);
  });

  it('keeps the run after a failure, and prints the command that pushes it later, without the token', async () => {
    hub.fault = ({ path, authorization }) =>
      path.includes('/commit/') ? { status: 403, body: { error: `no: ${authorization}` } } : undefined;
    const flags = ['--hub-model-id', 'me/x', '--hub-create-pr', '--hub-private'];
    expect(await run(['--debug', 'push', runFolder, ...flags, ...token])).toBe(1);
    expect(printed.stderr).toContain(`push ${runFolder} --hub-model-id me/x --hub-private --hub-create-pr`);
    expect(printed.stderr).toMatch(/got 403 from http:.*no: Bearer <secret>.*give it write access/);
    expect(readFileSync(join(runFolder, 'pytorch_lora_weights.safetensors'), 'utf8')).toBe('the last weights');
    expect(leaks()).toEqual([]);
  });

  it.each([
    [['push', join(folder, 'none')], 2, /push: got '.*none', expected the folder of a run, with run\.json/],
    [['push', runFolder], 2, /push: got no repository, expected one\. Give --hub-model-id/],
    [['push', runFolder, '--hub-model-id', 'me/x'], 1, /got no token for 'me\/x'.* set HF_TOKEN/s],
    [['push', runFolder, '--hub-model-id', 'a b', ...token], 1, /id got 'a b', expected 'organisation\/name'/],
    [['push'], 2, /missing required argument 'folder'/],
  ])('%j ends with %d and says why', async (args, code, message) => {
    expect(await run(args)).toBe(code);
    expect(printed.stderr).toMatch(message);
    expect(hub.requests).toEqual([]);
  });

  it('refuses a run that has no weights yet', async () => {
    const begun = join(folder, 'begun');
    createMockRun(begun);
    rmSync(join(begun, 'pytorch_lora_weights.safetensors'));
    expect(await run(['push', begun, '--hub-model-id', 'me/x', ...token])).toBe(2);
    expect(printed.stderr).toMatch(/got no pytorch_lora_weights\.safetensors and no unet\/.* let it end/);
  });
});

describe('alignprop train --push-to-hub', () => {
  const short =
    '--engine tfjs --num-epochs 1 --truncated-backprop-rand false --truncated-backprop-timestep 0 ' +
    '--sample-num-steps 1 --sample-guidance-scale 1 --height 16 --width 16 --quiet --push-to-hub';
  const train = (...args: string[]) =>
    run(['train', '--model', fixturePath('sd2-tiny/model'), '--prompt', 'a "crab": 🦀', ...short.split(' '), ...args]);

  it('trains, writes the card, pushes in one commit, and pushes again when it is resumed', async () => {
    const out = join(folder, 'trained');
    writeFileSync(join(folder, 'held.txt'), 'fox\n');
    const flags = ['--output-dir', out, '--eval-prompts', join(folder, 'held.txt')];
    expect(await train(...flags, '--hub-model-id', 'crabs', ...token)).toBe(0);
    const files = pushed('me/crabs');
    expect(Object.keys(files)).toEqual(
      expect.arrayContaining(['README.md', 'before-after.png', 'pictures/1.png', 'pytorch_lora_weights.safetensors']),
    );
    const card = readFileSync(join(out, 'README.md'), 'utf8');
    expect(files['README.md']!.toString()).toBe(card);
    expect(card).toContain('instance_prompt: "a \\"crab\\": 🦀"');
    expect(card).toContain('load_lora_weights("me/crabs", ');
    expect(await run(['resume', out, '--num-epochs', '2', '--quiet', ...token])).toBe(0);
    expect(hub.repositories['me/crabs']!.branches.main).toHaveLength(3);
    expect(leaks()).toEqual([]);
  });

  it('keeps the result of a run whose push fails, and exits with 1', async () => {
    const out = join(folder, 'kept');
    hub.fault = ({ path }) =>
      path.includes('/preupload/') ? { status: 403, body: { error: 'no rights' } } : undefined;
    expect(await train('--output-dir', out, '--hub-model-id', 'me/crabs', ...token)).toBe(1);
    expect(printed.stderr).toMatch(/no rights\. .*The run in .*kept is kept\. Push it later with:\n .*push .*kept/);
    expect(printed.stderr).not.toContain('resume');
    expect(readdirSync(out)).toEqual(expect.arrayContaining(['pytorch_lora_weights.safetensors', 'README.md']));
  });

  it.each([
    [[], /--push-to-hub: got no repository, expected one\. Give --hub-model-id/],
    [['--hub-model-id', 'a b', ...token], /--push-to-hub: hub: id got 'a b'/],
    [['--hub-model-id', 'me/x'], /--push-to-hub: hub: got no token for 'me\/x'/],
    [['--hub-model-id', 'me/x', '--token', 'hf_wrong_token_here'], /got 401 .*The token is not accepted/s],
  ])('refuses %j before the run starts', async (flags, message) => {
    expect(await train('--output-dir', join(folder, 'refused'), ...flags)).toBe(2);
    expect(printed.stderr).toMatch(message);
    expect(readdirSync(folder)).not.toContain('refused');
  });
});
