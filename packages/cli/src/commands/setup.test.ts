import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { buildAddon } from '../tensorflow/build-addon.js';
import { findPythonTensorflow } from '../tensorflow/python-tensorflow.js';
import { run } from '../program.js';

const printed = captureOutput();
const folder = temporaryFolder();

/** Writes a program that answers like a Python with a TensorFlow. */
function fakePython(name: string, answer: object): string {
  const path = join(folder, name);
  writeFileSync(path, `#!/bin/sh\necho '${JSON.stringify(answer)}'\n`);
  chmodSync(path, 0o755);
  return path;
}

/** Writes the files that a TensorFlow wheel with CUDA has. */
function fakeTensorflow(): string {
  const home = join(folder, 'site-packages/tensorflow');
  const files = [
    'include/tensorflow/c/c_api.h',
    'libtensorflow_cc.so.2',
    'libtensorflow_framework.so.2',
    '../nvidia/cuda_runtime/lib/libcudart.so.12',
    '../nvidia/cuda_runtime/lib/readme.txt',
  ];
  for (const file of files) {
    mkdirSync(join(home, file, '..'), { recursive: true });
    writeFileSync(join(home, file), '');
  }
  return home;
}

describe('findPythonTensorflow', () => {
  it('finds the package and the CUDA libraries beside it', async () => {
    const home = fakeTensorflow();
    const python = fakePython('python', { folder: home, version: '2.21.0' });
    expect(await findPythonTensorflow(python)).toEqual({
      python,
      version: '2.21.0',
      folder: home,
      cudaLibraries: [join(home, '../nvidia/cuda_runtime/lib/libcudart.so.12')],
    });
  });

  it.each([
    ['no TensorFlow', { folder: null, version: null }, /got no module 'tensorflow', expected one\. Run '.* -m pip/],
    ['an old version', { folder: '/nowhere', version: '2.9.1' }, /got version 2\.9\.1 .*expected 2\.15 or newer/],
  ])('refuses a Python with %s', async (_, answer, message) => {
    await expect(findPythonTensorflow(fakePython('python', answer))).rejects.toThrow(message);
  });

  it('refuses a Python that does not exist, or fails', async () => {
    await expect(findPythonTensorflow(join(folder, 'none'))).rejects.toThrow(/Python got '.*none', expected a program/);
    await expect(findPythonTensorflow('false')).rejects.toThrow(/false ended with 1, expected 0/);
  });
});

describe('buildAddon', () => {
  it('reports the errors of the compiler', async () => {
    mkdirSync(join(folder, 'package/binding'), { recursive: true });
    const compiler = join(folder, 'compiler');
    writeFileSync(compiler, '#!/bin/sh\necho "no such header" >&2\nexit 1\n');
    chmodSync(compiler, 0o755);
    const built = buildAddon(
      { name: '@tensorflow/tfjs-node', folder: join(folder, 'package') },
      { python: '', version: '', folder, cudaLibraries: [] },
      { compiler, headers: '' },
    );
    await expect(built).rejects.toThrow(/compiler failed, expected an addon:\nno such header/);
  });
});

it('setup tensorflow names what is missing, with exit code 2', async () => {
  expect(await run(['setup', 'tensorflow', '--python', join(folder, 'none')])).toBe(2);
  expect(printed.stderr).toMatch(/setup tensorflow: .* got .*, expected /);
});
