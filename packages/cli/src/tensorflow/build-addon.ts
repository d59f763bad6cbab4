import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { TensorflowPackage } from '@alignprop/autograd-ext';
import { pathExists } from '../path-exists.js';
import { UsageError } from '../terminal/errors.js';
import { tensorflowLibraries, type PythonTensorflow } from './python-tensorflow.js';
import { lastLines, runProgram } from './run-program.js';

/** The programs that the addon is built with. */
export interface BuildTools {
  readonly compiler: string;
  /** The folder of Node's headers. */
  readonly headers: string;
}

/** @throws UsageError if there is no C++ compiler, or no headers of Node */
export async function findBuildTools(): Promise<BuildTools> {
  return { compiler: await findCompiler(), headers: findNodeHeaders() };
}

async function findCompiler(): Promise<string> {
  const compilers = process.env['CXX'] ? [process.env['CXX']] : ['g++', 'clang++', 'c++'];
  for (const compiler of compilers) if ((await runProgram(compiler, ['--version']))?.code === 0) return compiler;
  throw new UsageError(
    `setup tensorflow: C++ compiler got none (tried ${compilers.join(', ')}), expected one of C++17. ` +
      "Run 'apt-get install g++', or name one in the environment variable CXX.",
  );
}

function findNodeHeaders(): string {
  const folders = [
    join(dirname(process.execPath), '../include/node'),
    '/usr/include/node',
    join(process.cwd(), 'node_modules/node-api-headers/include'),
  ];
  const found = folders.find((folder) => pathExists(join(folder, 'node_api.h')));
  if (found) return found;
  throw new UsageError(
    `setup tensorflow: node_api.h got no file in ${folders.join(', ')}, expected Node's headers in one of them. ` +
      "Run 'npm install node-api-headers'.",
  );
}

/**
 * Builds the addon of tfjs-node from its sources against a TensorFlow, where tfjs-node loads it from.
 * @returns the path of the addon
 * @throws if the compiler fails; an addon that existed is then unchanged
 */
export async function buildAddon(
  { folder }: TensorflowPackage,
  tensorflow: PythonTensorflow,
  { compiler, headers }: BuildTools,
): Promise<string> {
  const sources = (await readdir(join(folder, 'binding'))).filter((name) => name.endsWith('.cc'));
  const target = join(folder, 'lib/napi-v8/tfjs_binding.node');
  const unfinished = `${target}.${process.pid}`;
  await mkdir(dirname(target), { recursive: true });
  const args = [
    ...['-shared', '-fPIC', '-O2', '-std=c++17', '-DNAPI_VERSION=8'],
    ...[headers, join(tensorflow.folder, 'include')].map((path) => `-I${path}`),
    ...sources.map((name) => join(folder, 'binding', name)),
    ...['-o', unfinished],
    ...linkerArguments(tensorflow),
  ];
  const result = await runProgram(compiler, args);
  if (result?.code !== 0) {
    await rm(unfinished, { force: true });
    throw new Error(`setup tensorflow: ${compiler} failed, expected an addon:\n${lastLines(result?.stderr ?? '')}`);
  }
  await rename(unfinished, target);
  return target;
}

/**
 * Links TensorFlow by its place. Also links the CUDA libraries, so that they are loaded when TensorFlow looks for them
 * by name: Python preloads them in its own way.
 */
function linkerArguments({ folder, cudaLibraries }: PythonTensorflow): string[] {
  const places = new Set([folder, ...cudaLibraries.map((file) => dirname(file))]);
  return [
    ...tensorflowLibraries.map((name) => join(folder, name)),
    ...(cudaLibraries.length > 0 ? ['-Wl,--no-as-needed', ...cudaLibraries] : []),
    ...[...places].map((place) => `-Wl,-rpath,${place}`),
    ...['-Wl,--disable-new-dtags', '-Wl,--allow-shlib-undefined'],
  ];
}
