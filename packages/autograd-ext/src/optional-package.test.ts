import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { temporaryFolder } from '../../../fixtures/temporary-folder.js';
import { importOptional, installCommand, isGlobal } from './optional-package.js';

const folder = temporaryFolder();

/** Writes a CommonJS package into a folder's node_modules. */
function writePackage(home: string, name: string): void {
  const path = join(folder, home, 'node_modules', name);
  mkdirSync(path, { recursive: true });
  writeFileSync(
    join(path, 'package.json'),
    JSON.stringify({ name, main: 'index.js', exports: { './part': './index.js' } }),
  );
  writeFileSync(join(path, 'index.js'), `Object.assign(module.exports, { home: '${home}' });`);
}
const missing = () => Promise.reject(new Error("Cannot find package 'it'\nfrom somewhere"));

describe('importOptional', () => {
  afterEach(() => void vi.restoreAllMocks());

  it('prefers the copy that the library sees', async () => {
    expect(await importOptional('@scope/it/part', () => Promise.resolve({ home: 'library' }))).toEqual({
      home: 'library',
    });
  });

  it("finds the working folder's copy", async () => {
    writePackage('project', '@scope/it');
    vi.spyOn(process, 'cwd').mockReturnValue(join(folder, 'project'));
    expect(await importOptional<{ home: string }>('@scope/it/part', missing)).toMatchObject({ home: 'project' });
  });

  it('names the package and the command that installs it', async () => {
    vi.spyOn(process, 'cwd').mockReturnValue(folder);
    await expect(importOptional('@scope/it/part', missing)).rejects.toThrow(
      "the package '@scope/it' cannot be loaded: Cannot find package 'it'. Run 'npm install @scope/it'",
    );
  });
});

describe('installCommand', () => {
  it('installs locally for a library of a project, globally for one of a global installation', async () => {
    expect(await installCommand('a', 'b')).toBe('npm install a b');
    mkdirSync(join(folder, 'lib'), { recursive: true });
    mkdirSync(join(folder, 'home'), { recursive: true });
    writeFileSync(join(folder, 'home/package.json'), '{}');
    const moduleIn = (home: string) => `${pathToFileURL(join(folder, home)).href}/node_modules/@alignprop/cli/main.js`;
    expect(await isGlobal(moduleIn('lib'))).toBe(true);
    expect(await isGlobal(moduleIn('home'))).toBe(false);
    expect(await isGlobal('https://cdn.example/node_modules/x/main.js')).toBe(false);
  });
});
