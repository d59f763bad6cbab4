import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, it, vi } from 'vitest';
import { bundleCommand } from '../../../../fixtures/bundle-command.js';
import { runProgram } from '../../../../fixtures/run-program.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import type { Finding } from './finding.js';
import { checkHub } from './hub-checks.js';
import { checkPackages } from './package-checks.js';
import { largePages } from './system-checks.js';

const folder = temporaryFolder();
const secret = 'hf_secret';
let hub: Server;
let endpoint: string;
beforeAll(async () => {
  hub = createServer(({ headers, url }, response) => {
    response.statusCode = url === '/api/whoami-v2' && headers.authorization === `Bearer ${secret}` ? 200 : 401;
    response.end('{}');
  });
  await new Promise<void>((resolve) => hub.listen(0, '127.0.0.1', resolve));
  endpoint = `http://127.0.0.1:${(hub.address() as AddressInfo).port}`;
});
afterAll(() => void hub.close());

const byName = (findings: readonly Finding[]): Record<string, Finding> =>
  Object.fromEntries(findings.map((finding) => [finding.name, finding]));

describe('checkHub', () => {
  beforeEach(() => {
    vi.stubEnv('HF_HUB_OFFLINE', '');
    vi.stubEnv('HF_ENDPOINT', endpoint);
    vi.stubEnv('HF_HUB_CACHE', join(folder, 'hub'));
  });
  afterEach(() => void vi.unstubAllEnvs());

  it('accepts a valid token, which it does not print, and adds up the cache', async () => {
    vi.stubEnv('HF_TOKEN', secret);
    mkdirSync(join(folder, 'hub/models--a--b/blobs'), { recursive: true });
    writeFileSync(join(folder, 'hub/models--a--b/blobs/x'), 'twelve bytes');
    writeFileSync(join(folder, 'hub/version.txt'), '1');
    const findings = await checkHub();
    expect(findings.map(({ status }) => status)).toEqual(['ok', 'ok', 'ok']);
    expect(byName(findings).cache!.values).toMatchObject({ writable: true, bytes: 12 });
    expect(byName(findings).token!.text).toBe('the hub accepts it');
    expect(JSON.stringify(findings)).not.toContain(secret);
  });

  it('finds a token that the hub refuses, and a cache that cannot be written', async () => {
    vi.stubEnv('HF_TOKEN', 'hf_old');
    writeFileSync(join(folder, 'file'), '');
    vi.stubEnv('HF_HUB_CACHE', join(folder, 'file/hub'));
    const { cache, token } = byName(await checkHub());
    expect([cache!.status, token!.status]).toEqual(['problem', 'problem']);
    expect(cache!.fix).toContain('HF_HUB_CACHE');
    expect(token!.fix).toContain('hf auth login');
  });

  it('takes a hub that does not answer for no fault', async () => {
    vi.stubEnv('HF_TOKEN', '');
    vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9');
    expect(byName(await checkHub()).hub).toMatchObject({ status: 'note', values: { reachable: false } });
    vi.stubEnv('HF_HUB_OFFLINE', '1');
    expect(byName(await checkHub()).hub).toMatchObject({ status: 'ok', values: { offline: true } });
  });
});

describe('checkPackages', () => {
  it('tells versions and places of packages, and whether ONNX Runtime sends events', async () => {
    vi.stubEnv('ORT_DISABLE_TELEMETRY', '0');
    const findings = byName(await checkPackages());
    vi.unstubAllEnvs();
    expect(findings['onnxruntime-node']!.text).toMatch(/^1\.30\.0 in .*onnxruntime-node, for the fast engine$/);
    expect(findings.telemetry).toMatchObject({ status: 'note', values: { off: false } });
  });
});

describe('largePages', () => {
  it.each([
    ['always [madvise] never\n', 'ok', 'madvise'],
    ['[always] madvise never\n', 'ok', 'always'],
    ['always madvise [never]\n', 'note', 'never'],
  ])('reads the setting %j', (text, status, setting) => {
    const finding = largePages(text);
    expect(finding).toMatchObject({ status, values: { setting } });
    expect(finding.fix !== undefined).toBe(setting === 'never');
  });
});

describe('alignprop doctor', () => {
  let program: string;
  beforeAll(async () => void (program = await bundleCommand(join(folder, 'command'))));

  const doctor = async (nodeArguments: readonly string[] = []) => {
    const env = { HF_ENDPOINT: endpoint, HF_HUB_OFFLINE: '', HF_TOKEN: secret, HF_HUB_CACHE: join(folder, 'hub') };
    const result = await runProgram(program, ['doctor', '--json'], {
      isBundled: true,
      cwd: folder,
      env,
      nodeArguments,
    });
    const records = result.stdout.trimEnd().split('\n');
    return { ...result, findings: byName(records.map((record) => JSON.parse(record) as Finding)) };
  };

  it('measures the engines that work, and ends with 0', async () => {
    const { code, stdout, stderr, findings } = await doctor();
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const name of ['onnxruntime (cpu)', 'tfjs (wasm)']) {
      expect(findings[name]).toMatchObject({ status: 'ok' });
      const { gflops, cores } = findings[name] as unknown as { gflops: number; cores: number };
      expect(gflops).toBeGreaterThan(0);
      expect(cores).toBeGreaterThan(0);
      expect(cores).toBeLessThan(availableParallelism() + 1);
      expect(findings[name]!.text).toMatch(/^works, [\d.]+ GFLOP\/s on \d+\.\d of \d+ cores: a UNet call of SD 1\.5/);
    }
    expect(stdout).not.toContain(secret);
  });

  it('names the command that installs a missing engine, and ends with 1; generate warns of it', async () => {
    const hooks = `export const resolve = (name, context, next) => {
      if (name !== 'onnxruntime-node') return next(name, context);
      throw Object.assign(new Error("Cannot find package 'onnxruntime-node'"), { code: 'ERR_MODULE_NOT_FOUND' });
    };`;
    const register = `import { register } from 'node:module'; register(${JSON.stringify(dataUrl(hooks))});`;
    const withoutRuntime = ['--import', dataUrl(register)];
    const { code, findings } = await doctor(withoutRuntime);
    expect(code).toBe(1);
    expect(findings.onnxruntime).toMatchObject({ status: 'problem' });
    expect(findings.onnxruntime!.fix).toMatch(/npm install onnxruntime-node@1\.30\.0$/);
    const args = ['generate', 'crab', '--steps', '1', '--height', '16', '--width', '16', '-o', join(folder, 'x.png')];
    const { stderr } = await runProgram(program, args, {
      isBundled: true,
      cwd: folder,
      nodeArguments: withoutRuntime,
    });
    const [warning, loading] = stderr.split('\n') as [string, string];
    expect(warning).toMatch(/^warning: the model runs on tfjs \(wasm\), about five times slower than on ONNX Runtime:/);
    expect(warning).toMatch(/: onnxruntime-node is not installed\. Run: .*npm install onnxruntime-node@1\.30\.0$/);
    expect(loading).toBe('Loading tiny-emoji on tfjs (wasm)');
  });
});

const dataUrl = (code: string): string => `data:text/javascript,${encodeURIComponent(code)}`;
