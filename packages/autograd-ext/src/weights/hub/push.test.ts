import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { PushHub, type Fault, type PushRequest } from '../../../../../fixtures/push-hub.js';
import { temporaryFolder } from '../../../../../fixtures/temporary-folder.js';
import { checkPush, pushToHub, type PushOptions } from './push.js';

const folder = temporaryFolder();
const hub = new PushHub();
const weights = Buffer.from(Uint8Array.from({ length: 200_000 }, (_, i) => (i * i) % 251));
const adapter = join(folder, 'adapter #1.safetensors');
writeFileSync(adapter, weights);
const card = new TextEncoder().encode('---\ntags: ["ünï 🦀"]\n---\n');
const files = { 'pytorch_lora_weights.safetensors': adapter, 'README.md': card, 'samples/a b.png': card };

beforeAll(() => hub.start());
afterAll(() => hub.stop());
beforeEach(() => {
  const off = ['HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE', 'HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'ALL_PROXY'];
  for (const name of [...off, 'HUGGING_FACE_HUB_TOKEN', 'HF_HUB_DISABLE_IMPLICIT_TOKEN']) vi.stubEnv(name, '');
  vi.stubEnv('HF_TOKEN', hub.token);
  vi.stubEnv('HF_TOKEN_PATH', join(folder, 'no-token'));
  vi.stubEnv('HF_ENDPOINT', hub.endpoint);
});
afterEach(() => {
  vi.unstubAllEnvs();
  hub.reset();
});

const push = (id = 'org/name', options: PushOptions = {}) => pushToHub(id, files, { retryDelay: 0, ...options });
const isCommit = ({ path }: PushRequest) => path.includes('/commit/');
const isUpload = ({ method }: PushRequest) => method === 'PUT';

/** Injects faults into the first requests of a kind. */
function inject(isMeant: (request: PushRequest) => boolean, ...faults: readonly Fault[]): void {
  const left = [...faults];
  hub.fault = (request) => (isMeant(request) ? left.shift() : undefined);
}

describe('pushToHub', () => {
  it('creates the repository and makes one commit of large and small files', async () => {
    const pushed = await push('org/name', { commitMessage: 'An adapter' });
    const [commit, initial, ...more] = hub.repositories['org/name']!.branches.main!;
    expect(pushed).toEqual({ id: 'org/name', url: `${hub.endpoint}/org/name`, commit: commit!.id, isNew: true });
    expect([initial!.title, more]).toEqual(['initial commit', []]);
    expect(commit!.title).toBe('An adapter');
    expect(commit!.files['pytorch_lora_weights.safetensors']).toEqual(weights);
    expect(commit!.files['README.md']).toEqual(Buffer.from(card));
    expect(Object.keys(commit!.files).sort()).toEqual(Object.keys(files).sort());
    expect(hub.repositories['org/name']!.isPrivate).toBe(false);
    const api = '/api/models/org/name';
    expect(hub.log).toEqual([
      `GET ${api}`,
      'POST /api/repos/create',
      `GET ${api}/revision/main`,
      `POST ${api}/preupload/main`,
      'POST /org/name.git/info/lfs/objects/batch',
      'PUT /store/<sha256>',
      'PUT /store/<sha256>',
      `POST ${api}/commit/main`,
    ]);
  });

  it('announces sizes, samples and hashes, and names large files by their hash', async () => {
    await push();
    const bodyOf = (part: string) => hub.requests.find(({ path }) => path.includes(part))!.body;
    const announced = (JSON.parse(bodyOf('/preupload/')) as { files: { size: number; sample: string }[] }).files;
    expect(announced[0]!.size).toBe(weights.length);
    expect(Buffer.from(announced[0]!.sample, 'base64')).toEqual(weights.subarray(0, 512));
    const sha256 = createHash('sha256').update(weights).digest('hex');
    expect(bodyOf('/batch')).toContain(`{"oid":"${sha256}","size":200000}`);
    const lines = bodyOf('/commit/').split('\n');
    expect(lines[1]).toBe(
      '{"key":"lfsFile","value":{"path":"pytorch_lora_weights.safetensors","algo":"sha256","size":200000,' +
        `"oid":"${sha256}"}}`,
    );
    expect(lines[2]).toContain(`"content":"${Buffer.from(card).toString('base64')}"`);
  });

  it('sends the token to the hub alone', async () => {
    await push();
    for (const { path, authorization } of hub.requests)
      expect([path, authorization]).toEqual([path, path.startsWith('/store/') ? undefined : `Bearer ${hub.token}`]);
  });

  it('sends tokens that do not begin with hf_, as those of mirrors', async () => {
    const before = hub.token;
    hub.token = 'api_org_token';
    await push('org/name', { token: 'api_org_token' });
    hub.token = before;
    expect(hub.repositories['org/name']!.branches.main).toHaveLength(2);
  });

  it('adds the owner of the token to a name', async () => {
    expect(await push('crabs')).toMatchObject({ id: 'me/crabs', url: `${hub.endpoint}/me/crabs` });
  });

  it('creates a private repository, and refuses a public one where a private one is asked for', async () => {
    await push('org/name', { private: true });
    expect(hub.repositories['org/name']!.isPrivate).toBe(true);
    hub.addRepository('org/public');
    await expect(push('org/public', { private: true })).rejects.toThrow(
      /private got true, but 'org\/public' is public, expected a private or a new repository\. Make it private at http/,
    );
    expect(hub.repositories['org/public']!.branches.main).toHaveLength(1);
  });

  it('creates the branch of a revision, and commits to one that exists', async () => {
    for (let i = 0; i < 2; i++)
      expect(await push('org/name', { revision: 'run/2' })).toMatchObject({
        url: `${hub.endpoint}/org/name/tree/run%2F2`,
        isNew: i === 0,
      });
    const { branches } = hub.repositories['org/name']!;
    expect([branches.main!.length, branches['run/2']!.length]).toEqual([1, 3]);
  });

  it('opens a pull request', async () => {
    hub.addRepository('org/name');
    expect((await push('org/name', { createPr: true })).url).toBe(`${hub.endpoint}/org/name/discussions/1`);
    const { branches, pullRequests } = hub.repositories['org/name']!;
    expect([branches.main!.length, Object.keys(pullRequests[0]!.files)]).toEqual([1, Object.keys(files)]);
  });
});

describe('pushToHub, after a fault that may pass', () => {
  it.each<[string, (request: PushRequest) => boolean, readonly Fault[]]>([
    ['a fault of the hub', ({ path }) => path.endsWith('/preupload/main'), [{ status: 502 }, { status: 500 }]],
    ['a web page in place of JSON', ({ path }) => path.endsWith('/batch'), [{ status: 200, body: '<html>' }]],
    ['a cut upload', isUpload, ['cut', 'cut']],
    ['an upload whose answer is lost', isUpload, ['cut after']],
    ['a creation whose answer is lost', ({ path }) => path.endsWith('/create'), ['cut after']],
    ['a commit that the hub refuses for now', isCommit, [{ status: 503 }, { status: 409 }, { status: 412 }]],
    ['a cut commit', isCommit, ['cut']],
  ])('goes on after %s, with one commit', async (_, isMeant, faults) => {
    inject(isMeant, ...faults);
    await push();
    const [commit, ...before] = hub.repositories['org/name']!.branches.main!;
    expect(before).toHaveLength(1);
    expect(commit!.files['pytorch_lora_weights.safetensors']).toEqual(weights);
  });

  it('recognises its own commit whose answer is lost, and makes no second one', async () => {
    inject(isCommit, 'cut after');
    const { commit } = await push();
    const { main } = hub.repositories['org/name']!.branches;
    expect([main!.length, main![0]!.id]).toEqual([2, commit]);
    expect(hub.log.filter((line) => line.includes('/commit/'))).toHaveLength(1);
  });

  it('sends no large file again that has arrived', async () => {
    inject(isCommit, { status: 500 });
    await push();
    expect(hub.requests.filter(isUpload)).toHaveLength(2);
    expect(hub.requests.filter(isCommit)).toHaveLength(2);
  });

  it('waits as long as Retry-After says', async () => {
    inject(isCommit, { status: 429, headers: { 'retry-after': '1' } });
    const started = performance.now();
    await push();
    expect(performance.now() - started).toBeGreaterThan(990);
  });

  it('gives up after five attempts, and at a wait of more than a minute', async () => {
    hub.fault = (request) => (isUpload(request) ? { status: 500 } : undefined);
    await expect(push()).rejects.toThrow(/pushing to 'org\/name' got 500 from http:.*: injected\. Push again later\./);
    hub.requests.length = 0;
    hub.fault = () => ({ status: 429, headers: { 'retry-after': '3600' } });
    await expect(push()).rejects.toThrow(/got 429 .* Wait, and push again\./);
    // The other upload of the first push may still be repeated.
    expect(hub.requests.filter((request) => !isUpload(request))).toHaveLength(1);
  });

  it('opens no second pull request where the answer to the first is lost', async () => {
    hub.addRepository('org/name');
    inject(isCommit, 'cut after');
    await expect(push('org/name', { createPr: true })).rejects.toThrow(
      /The pull request may have been opened: look at http:.*\/org\/name\/discussions before you push again/,
    );
    expect(hub.repositories['org/name']!.pullRequests).toHaveLength(1);
  });

  it('repeats a request without an answer after its time limit', async () => {
    inject(isUpload, 'silence');
    await push('org/name', { timeout: 0.3 });
    expect(hub.repositories['org/name']!.branches.main).toHaveLength(2);
  });

  it('stops with the reason of its signal', async () => {
    const controller = new AbortController();
    hub.fault = (request) => {
      if (isUpload(request)) controller.abort(new Error('stopped by the user'));
      return undefined;
    };
    await expect(push('org/name', { signal: controller.signal })).rejects.toThrow('stopped by the user');
    expect(hub.repositories['org/name']!.branches.main).toHaveLength(1);
  });
});

describe('pushToHub refuses', () => {
  it.each([
    [401, /got 401 .* The token is not accepted: make one that may write at http:.*\/settings\/tokens/],
    [403, /got 403 .* The token may not do this: give it write access/],
    [413, /got 413 .* A file is larger than the hub takes/],
  ])('at once where the hub answers %s, with its words', async (status, message) => {
    inject(isCommit, { status, body: { error: `said to ${hub.token}` } });
    const error = await push().then(String, (reason: unknown) => (reason as Error & { cause: Error }).message);
    expect(error).toMatch(message);
    expect(error).toContain('said to <secret>.');
    expect(error).not.toContain(hub.token);
    expect(hub.requests.filter(isCommit)).toHaveLength(1);
  });

  it.each(['a b', 'a/b/c', '-a', 'a.', 'org/a--b', 'org/../x', 'a.git', '', `org/${'x'.repeat(97)}`])(
    'the id %j',
    async (id) => {
      await expect(push(id)).rejects.toThrow(/hub: id got '.*', expected 'organisation\/name'/);
      expect(hub.requests).toEqual([]);
    },
  );

  it('without a token, and offline', async () => {
    await expect(push('org/name', { token: false })).rejects.toThrow(
      /got no token for 'org\/name', expected one that may write\. Make one at .* set HF_TOKEN/,
    );
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    await expect(push()).rejects.toThrow(/HF_HUB_OFFLINE got 1, expected 0 to push/);
    expect(hub.requests).toEqual([]);
  });

  it('options that it does not have', async () => {
    await expect(push('org/name', { create_pr: true } as PushOptions)).rejects.toThrow(/Did you mean 'createPr'\?/);
  });
});

describe('checkPush', () => {
  it('returns the id with its owner, and changes nothing', async () => {
    expect(await checkPush('crabs')).toBe('me/crabs');
    expect(hub.requests.every(({ method }) => method === 'GET')).toBe(true);
  });

  it('refuses a token that may only read, or is wrong, and a public repository', async () => {
    await expect(checkPush('org/name', { token: 'hf_wrong_token' })).rejects.toThrow(/got 401 .*Invalid credentials/);
    hub.addRepository('org/name');
    await expect(checkPush('org/name', { private: true })).rejects.toThrow(/'org\/name' is public/);
    hub.role = 'read';
    await expect(checkPush('org/name')).rejects.toThrow(/the token got the role 'read', expected one that may write/);
  });

  it('warns where the hub does not answer', async () => {
    const warnings: string[] = [];
    hub.fault = () => 'cut';
    const onWarning = (message: string) => void warnings.push(message);
    expect(await checkPush('org/name', { retryDelay: 0, onWarning })).toBe('org/name');
    expect(warnings).toEqual([expect.stringMatching(/no answer from .* Whether the push will work is not known\./)]);
  });
});
