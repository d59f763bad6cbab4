// Proves that each boundary rule of eslint.config.mjs works: snippets that it must refuse, and snippets that it must
// accept.
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ESLint } from 'eslint';
import tseslint from 'typescript-eslint';
import { beforeAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));
const modules = '@nx/enforce-module-boundaries';
const imports = '@typescript-eslint/no-restricted-imports';
const rooms = 'import-x/no-restricted-paths';

// Lints without type information: the snippets belong to no TypeScript program.
const eslint = new ESLint({
  cwd: root,
  overrideConfig: [
    { ...tseslint.configs.disableTypeChecked, files: ['**/*.ts'] },
    { files: ['**/*.ts'], languageOptions: { parserOptions: { project: false, program: null } } },
  ],
});

beforeAll(() => {
  // The Nx rule reads the project graph from Nx's cache and lets everything pass when there is none.
  execFileSync('npx', ['nx', 'show', 'projects'], {
    cwd: root,
    env: { ...process.env, NX_DAEMON: 'false' },
    stdio: 'ignore',
  });
});

/** Returns the ids of the rules that refuse `code` in `file`. */
async function refusals(file: string, code: string): Promise<readonly (string | null)[]> {
  const [result] = await eslint.lintText(code, { filePath: file, warnIgnored: true });
  expect(result!.messages.filter(({ fatal }) => fatal)).toEqual([]);
  return result!.messages.map(({ ruleId }) => ruleId);
}

const refused: readonly (readonly [file: string, code: string, rule: string])[] = [
  ['packages/autograd-ext/src/x.ts', "export { UNet2DConditionModel } from '@alignprop/diffusion';", modules],
  ['packages/diffusion/src/x.ts', "export { addLora } from '@alignprop/lora';", modules],
  ['packages/diffusion/src/x.test.ts', "export { addLora } from '@alignprop/lora';", modules],
  ['packages/diffusion/src/x.ts', "export { jpegCompressibility } from '@alignprop/rewards';", modules],
  ['packages/lora/src/x.ts', "export { UNet2DConditionModel } from '@alignprop/diffusion';", modules],
  ['packages/lora/src/x.ts', "export { vjp } from '../../autograd-ext/src/index.js';", modules],
  ['packages/lora/src/x.ts', "export type { RewardFunction } from '@alignprop/rewards';", modules],
  ['packages/rewards/src/x.ts', "export { AlignPropTrainer } from '@alignprop/trainer';", modules],
  ['packages/rewards/src/x.ts', "export { addLora } from '@alignprop/lora';", modules],
  ['packages/rewards/src/x.ts', "export { UNet2DConditionModel } from '@alignprop/diffusion';", imports],
  ['packages/trainer/src/x.ts', "export { jpegCompressibility } from '@alignprop/rewards';", imports],
  ['packages/trainer/src/x.ts', "export { run } from '@alignprop/cli';", modules],
  ['packages/diffusion/src/x.ts', "export { vjp } from '@alignprop/autograd-ext/src/vjp.js';", imports],
  ['packages/lora/src/x.ts', "export { add } from '@tensorflow/tfjs-core/dist/ops/add.js';", imports],
  ['packages/cli/src/x.ts', "export { add } from '@tensorflow/tfjs';", imports],
  [
    'packages/diffusion/src/models/x.ts',
    "import { readFileSync } from 'node:fs'; export const x = readFileSync;",
    imports,
  ],
  [
    'packages/autograd-ext/src/weights/files/directory.ts',
    "import { open } from 'node:fs/promises'; export const x = open;",
    imports,
  ],
  ['packages/diffusion/src/models/x.ts', "export const x = () => import('node:fs');", 'no-restricted-syntax'],
  [
    'packages/lora/src/lora-config.ts',
    "import { addLora } from './index.js'; export const x = addLora;",
    'import-x/no-cycle',
  ],
  ['packages/lora/src/x.ts', "export { expectClose } from '../../../fixtures/index.js';", imports],
  ['packages/cli/src/x.ts', "export { expectClose } from '../../../fixtures/index.js';", imports],
  ['packages/trainer/src/x.ts', "console.log('hello');", 'no-console'],
  ['packages/autograd-ext/src/kernels/fused/x.ts', "export { linear } from '../../ops/linear.js';", rooms],
  ['packages/autograd-ext/src/weights/torch/x.ts', "export { hub } from '../hub/hub.js';", rooms],
  ['packages/lora/src/layouts/x.ts', "export { saveLora } from '../save-lora.js';", rooms],
  ['packages/diffusion/src/models/x.ts', "export { denoise } from '../pipelines/denoise.js';", rooms],
  ['packages/rewards/src/jpeg/x.ts', "export { aesthetic } from '../clip/aesthetic.js';", rooms],
  ['packages/trainer/src/config/x.ts', "export { walkUp } from '../gradient/walk-up.js';", rooms],
  ['packages/trainer/src/run/x.ts', "export { AlignPropTrainer } from '../trainer.js';", rooms],
  ['packages/cli/src/terminal/x.ts', "export { defineTrain } from '../commands/train.js';", rooms],
  [
    'packages/trainer/src/x.ts',
    'export const x = (text: string): unknown => JSON.parse(text);',
    'no-restricted-properties',
  ],
  ['packages/cli/src/x.ts', 'export const x = (name: string, table: object) => name in table;', 'no-restricted-syntax'],
  [
    'packages/lora/src/x.ts',
    'export function x(name: string) { const all: Record<string, number> = {}; all[name] = 1; return all; }',
    'no-restricted-syntax',
  ],
  ['packages/rewards/src/x.ts', 'const x: Readonly<Record<string, number>> = { a: 1 };', 'no-restricted-syntax'],
  ['packages/trainer/src/x.ts', `// ${'x'.repeat(118)}`, 'max-len'],
  ['packages/trainer/src/x.ts', 'let x = 0;\n' + 'x += 1;\n'.repeat(400), 'max-lines'],
  ['packages/trainer/src/x.ts', `export function f() {\n${'  f();\n'.repeat(60)}}`, 'max-lines-per-function'],
];

/** Code that takes every error of the file system for a file that does not exist. */
const swallowing = [
  "import { existsSync } from 'node:fs'; export const x = existsSync;",
  "export const x = async () => { const { existsSync } = await import('node:fs'); return existsSync('a'); };",
  "export const x = (readdir: (a: string) => Promise<string[]>) => readdir('a').catch(() => {});",
  "export const x = (readFile: (a: string) => Promise<string>) => readFile('a').catch(() => f('b'));",
  "export const x = (stat: (a: string) => Promise<string>) => stat('a').then((entry) => entry, () => false);",
  "export const x = (stat: (a: string) => Promise<string>) => { try { return stat('a'); } catch { return; } };",
  'export const x = (find: () => Promise<string>) => find().catch(() => undefined);',
  'export const x = (find: () => Promise<string[]>) => find().catch(() => []);',
  "export const x = (find: () => Promise<string>) => find().catch(() => '');",
];
const swallowed = ['autograd-ext/src/weights', 'trainer/src/run', 'diffusion/src/models', 'cli/src/options'].flatMap(
  (folder) => swallowing.map((code) => [`packages/${folder}/x.ts`, code, 'no-restricted-syntax'] as const),
);

const allowed: readonly (readonly [file: string, code: string])[] = [
  ['packages/diffusion/src/x.ts', "export { vjp } from '@alignprop/autograd-ext';"],
  ['packages/lora/src/x.ts', "export { vjp } from '@alignprop/autograd-ext';"],
  ['packages/rewards/src/x.ts', "export { CLIPTextModel } from '@alignprop/diffusion/clip';"],
  [
    'packages/trainer/src/x.ts',
    "export { addLora } from '@alignprop/lora'; export { StableDiffusionPipeline } from '@alignprop/diffusion';",
  ],
  ['packages/trainer/src/x.ts', "export type { RewardFunction } from '@alignprop/rewards';"],
  ['packages/trainer/src/x.ts', "export { scoresTensor } from '@alignprop/rewards/interface';"],
  [
    'packages/cli/src/x.ts',
    "import { readFileSync } from 'node:fs'; export { jpegCompressibility } from '@alignprop/rewards';\n" +
      'console.log(readFileSync);',
  ],
  [
    'packages/autograd-ext/src/weights/files/directory.ts',
    "import type { FileHandle } from 'node:fs/promises'; export type Handle = FileHandle;\n" +
      "export const x = (): Promise<unknown> => import('node:fs/promises');",
  ],
  ['packages/diffusion/src/x.test.ts', "import { readFileSync } from 'node:fs'; export const x = readFileSync;"],
  ['packages/lora/src/x.test.ts', "export { expectClose } from '../../../fixtures/index.js';"],
  ['packages/lora/src/x.ts', "export { LoraLayer } from './lora-layer.js';"],
  ['packages/trainer/src/gradient/x.ts', "export { parseAlignPropConfig } from '../config/config.js';"],
  ['packages/cli/src/x.ts', "export const x = (value: object) => 'graph' in value;"],
  ['packages/trainer/src/x.ts', `// ${'x'.repeat(117)}`],
  ['packages/trainer/src/run/x.ts', 'export const x = (rm: () => Promise<void>) => rm().catch(() => {});'],
  [
    'packages/trainer/src/run/x.ts',
    "import { ifPresent } from '@alignprop/autograd-ext/weights';\n" +
      'export const x = (readFile: () => Promise<string>) => ifPresent(readFile());',
  ],
  ['packages/trainer/src/x.test.ts', 'export const x = (find: () => Promise<string[]>) => find().catch(() => []);'],
];

describe('package boundaries', () => {
  it.each([...refused, ...swallowed].map(([file, code, rule]) => ({ file, code, rule, line: code.split('\n')[0] })))(
    '$file: "$line" is refused by $rule',
    async ({ file, code, rule }) => {
      expect(await refusals(file, code)).toContain(rule);
    },
  );

  it.each(allowed.map(([file, code]) => ({ file, code })))('$file: "$code" is allowed', async ({ file, code }) => {
    expect(await refusals(file, code)).toEqual([]);
  });

  it('has snippets for every package', () => {
    const packages = readdirSync(new URL('../packages', import.meta.url));
    expect(new Set(refused.map(([file]) => file.split('/')[1]))).toEqual(new Set(packages));
  });
});
