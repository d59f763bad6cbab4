import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { temporaryFolder } from '../../../../../../fixtures/temporary-folder.js';
import { findOptional } from '../../../optional-package.js';
import { findRuntime, runtimeProblem, runtimeVersion, type RuntimeProblem } from './onnx-runtime.js';

const folder = temporaryFolder();
const require = createRequire(import.meta.url);
const installed = dirname(require.resolve('onnxruntime-node/package.json'));
const libraries = `bin/napi-v6/${process.platform}/${process.arch}`;

/** Copies the installed package, damages the copy and describes what loading it says. */
async function problemOf(name: string, damage: (copy: string) => void): Promise<RuntimeProblem> {
  const home = join(folder, name);
  const copy = join(home, 'node_modules/onnxruntime-node');
  mkdirSync(dirname(copy), { recursive: true });
  for (const part of ['package.json', 'dist', `${libraries}/onnxruntime_binding.node`])
    cpSync(join(installed, part), join(copy, part), { recursive: true });
  cpSync(
    join(dirname(createRequire(`${installed}/`).resolve('onnxruntime-common')), '../..'),
    join(home, 'node_modules/onnxruntime-common'),
    {
      recursive: true,
    },
  );
  damage(copy);
  const load = async (): Promise<unknown> => createRequire(`${home}/`)('onnxruntime-node') as unknown;
  vi.spyOn(process, 'cwd').mockReturnValue(home);
  const found = await findOptional('onnxruntime-node', load);
  vi.restoreAllMocks();
  if (!found.error) throw new Error('the damaged package was loaded');
  return runtimeProblem(found);
}

describe('findRuntime', () => {
  it('loads ONNX Runtime once, with its telemetry disabled', async () => {
    const [first, second] = await Promise.all([findRuntime(), findRuntime()]);
    expect(first.runtime?.InferenceSession).toBeDefined();
    expect(second.runtime).toBe(first.runtime);
    expect(process.env.ORT_DISABLE_TELEMETRY).toBe('1');
  });

  it('names the version of package.json', () => {
    const { optionalDependencies } = JSON.parse(
      readFileSync(new URL('../../../../package.json', import.meta.url), 'utf8'),
    ) as { optionalDependencies: Record<string, string> };
    expect(runtimeVersion).toBe(optionalDependencies['onnxruntime-node']);
  });
});

describe('runtimeProblem', () => {
  it('gives the command that installs a missing package', async () => {
    const { reason, remedy } = await problemOf('missing', (copy) => rmSync(copy, { recursive: true }));
    expect(reason).toBe('onnxruntime-node is not installed');
    expect(remedy).toMatch(/^Run: .*npm install onnxruntime-node@1\.30\.0$/);
  });

  it('names the platforms if there is no library for this one', async () => {
    const { reason, remedy } = await problemOf('platform', (copy) => rmSync(join(copy, 'bin'), { recursive: true }));
    expect(reason).toMatch(/installed but cannot be loaded \(Cannot find module .*onnxruntime_binding\.node/);
    expect(remedy).toBe('It has libraries for Linux and Windows (x64, arm64) and macOS (arm64) only.');
  });

  it.runIf(process.platform === 'linux')(
    'gives the error of a damaged binding, and the command that replaces it',
    async () => {
      const { reason, remedy } = await problemOf('damaged', (copy) =>
        writeFileSync(join(copy, libraries, 'onnxruntime_binding.node'), 'not a library'),
      );
      expect(reason).toMatch(
        /installed but cannot be loaded \(.*onnxruntime_binding\.node: (file too short|invalid ELF)/,
      );
      expect(remedy).toMatch(/^Delete its folder and run: .*npm install/);
    },
  );

  it.each([
    [
      "/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.28' not found (required by libonnxruntime.so.1)",
      /glibc 2\.28/,
    ],
    ['Error loading shared library ld-linux-x86-64.so.2: No such file or directory', /Alpine/],
    ['libstdc++.so.6: cannot open shared object file: No such file or directory', /libstdc\+\+/],
    ["libonnxruntime.so.1: version `VERS_1.30.0' not found (required by binding.node)", /Another version/],
  ])('explains %s', async (message, remedy) => {
    const problem = await runtimeProblem({ error: new Error(message), isMissing: false });
    expect(problem.remedy).toMatch(remedy);
  });
});
