import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { beforeAll, describe, expect, it } from 'vitest';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';

const folder = temporaryFolder();

/** Writes a package that exports whose copy it is. */
function writePackage(home: string, name: string, code: string): void {
  const path = join(folder, home, 'node_modules', name);
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, 'package.json'), JSON.stringify({ name, type: 'module', exports: './index.js' }));
  writeFileSync(join(path, 'index.js'), code);
}

describe('shareOwnPackages', () => {
  beforeAll(async () => {
    for (const home of ['command', 'project']) {
      writePackage(home, '@tensorflow/tfjs-core', `export const copy = '${home}';`);
      writePackage(home, '@alignprop/rewards', `export { copy } from '@tensorflow/tfjs-core';`);
      writePackage(home, 'other', `export const copy = '${home}';`);
    }
    writePackage('command', '@alignprop/autograd-ext', `export const copy = 'command';`);
    writePackage('project', '@alignprop/lora', `export const copy = 'project';`);
    await build({
      entryPoints: [fileURLToPath(new URL('user-module.ts', import.meta.url))],
      bundle: true,
      platform: 'node',
      format: 'esm',
      outfile: join(folder, 'command/user-module.mjs'),
    });
  });

  /** The copy of a package that a module of the project gets. */
  const copyOf = (name: string, ...specifiers: string[]): unknown => {
    const imports = specifiers.map((specifier, i) => `import * as p${i} from '${specifier}';`).join('\n');
    const exported = specifiers.map((_, i) => `p${i}.copy`).join(', ');
    writeFileSync(join(folder, 'project', name), `${imports}\nexport default [${exported}];`);
    const [loader, module] = [join(folder, 'command/user-module.mjs'), join(folder, 'project', name)];
    const program = `
      const { importModule } = await import(${JSON.stringify(pathToFileURL(loader).href)});
      const { default: copies } = await importModule(${JSON.stringify(module)}, '--reward');
      console.log(JSON.stringify(copies));`;
    const printed = execFileSync(process.execPath, ['--input-type=module', '-e', program], {
      encoding: 'utf8',
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    return JSON.parse(printed) as unknown;
  };

  it("gives a user's module the command's copies of the shared packages, and its own of all others", () => {
    expect(copyOf('both.mjs', '@tensorflow/tfjs-core', '@alignprop/rewards', 'other')).toEqual([
      'command',
      'command',
      'project',
    ]);
  });

  it('gives it packages that its folder lacks, and leaves those that the command lacks', () => {
    expect(copyOf('lacks.mjs', '@alignprop/autograd-ext', '@alignprop/lora')).toEqual(['command', 'project']);
  });
});
