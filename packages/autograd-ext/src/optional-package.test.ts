import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { temporaryFolder } from '../../../fixtures/temporary-folder.js';
import { importOptional, installCommand, programCommand, rebuildCommand } from './optional-package.js';

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
    const message = "the package '@scope/it' cannot be loaded: Cannot find package 'it'. Run 'npm install @scope/it";
    await expect(importOptional('@scope/it/part', missing)).rejects.toThrow(`${message}'`);
    await expect(importOptional('@scope/it/part', missing, ['other'])).rejects.toThrow(`${message} other'`);
  });
});

describe('installCommand', () => {
  it('installs into the project of the sources', async () => {
    expect(await installCommand('a', 'b')).toBe('npm install a b');
  });
});

describe('rebuildCommand', () => {
  it.each([
    ['global', 'globally', [], 'npm rebuild -g x'],
    ['in a project', 'with-npm', ['package.json'], 'npm rebuild x'],
    ['in a project of pnpm', 'with-pnpm', ['package.json', 'pnpm-lock.yaml'], 'pnpm rebuild x'],
  ])('runs the script of a package that is installed %s', async (_, home, files, command) => {
    mkdirSync(join(folder, home), { recursive: true });
    for (const file of files) writeFileSync(join(folder, home, file), '{}');
    const module = `${pathToFileURL(join(folder, home)).href}/node_modules/@scope/it/main.js`;
    expect(await rebuildCommand('x', { module })).toBe(command);
  });
});

describe('programCommand', () => {
  it.each([
    ['global', 'lib', [], 'lib', ['it']],
    ['in a project', 'home', ['package.json'], 'home/part', ['npx', 'it']],
    ['in a project of pnpm', 'pnpm', ['package.json', 'pnpm-lock.yaml'], 'pnpm', ['pnpm', 'exec', 'it']],
    ['in another project', 'away', ['package.json'], 'home', ['node', process.argv[1]]],
    ['in a project with a longer name', 'home', ['package.json'], 'home2', ['node', process.argv[1]]],
    ["in npx's cache", '.npm/_npx/0a1b', ['package.json'], 'home', ['npx', '@scope/it']],
  ])('runs a program that is installed %s', async (_, home, files, cwd, words) => {
    mkdirSync(join(folder, home), { recursive: true });
    for (const file of files) writeFileSync(join(folder, home, file), '{}');
    const module = `${pathToFileURL(join(folder, home)).href}/node_modules/@scope/it/main.js`;
    expect(await programCommand('it', '@scope/it', { module, cwd: join(folder, cwd) })).toEqual(words);
  });

  it('names a program alone whose sources run, or that runs in a browser', async () => {
    expect(await programCommand('it', '@scope/it')).toEqual(['it']);
    const module = 'https://cdn.example/node_modules/x/main.js';
    expect(await programCommand('it', '@scope/it', { module })).toEqual(['it']);
  });
});
