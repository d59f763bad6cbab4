import { findBackend } from '@tensorflow/tfjs-core';
import type { TensorflowBackend } from './kernels/registry/tensorflow-backend.js';
import { installCommand, programCommand } from './optional-package.js';

/** The npm packages with tfjs's `tensorflow` backend, the preferred one first. */
export const tensorflowPackages = ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node'] as const;

/** A package with the `tensorflow` backend. */
export interface TensorflowPackage {
  readonly name: (typeof tensorflowPackages)[number];
  /** The folder of the package, an absolute path. */
  readonly folder: string;
}

/** The TensorFlow that the active `tensorflow` backend computes on. */
export interface TensorflowDevice {
  /** TensorFlow's version. */
  readonly version: string;
  readonly device: 'cpu' | 'gpu';
  /** Whether the package is the one for GPUs, so that the device `cpu` is probably not what was wanted. */
  readonly isGpuExpected: boolean;
}

/** The device of the `tensorflow` backend; undefined before `useBackend('tensorflow')`. */
export function tensorflowDevice(): TensorflowDevice | undefined {
  const backend = findBackend('tensorflow') as TensorflowBackend | null;
  if (!backend) return undefined;
  const { isGPUPackage, isUsingGpuDevice, binding } = backend;
  return { version: binding.TF_Version, device: isUsingGpuDevice ? 'gpu' : 'cpu', isGpuExpected: isGPUPackage };
}

/** Finds the package with the `tensorflow` backend: beside this library, else in the working folder. */
export async function findTensorflowPackage(): Promise<TensorflowPackage | undefined> {
  const [{ createRequire }, { dirname }] = await Promise.all([import('node:module'), import('node:path')]);
  for (const name of tensorflowPackages)
    for (const home of [import.meta.url, `${process.cwd()}/package.json`]) {
      const folder = folderOf(name, createRequire(home).resolve, dirname);
      if (folder) return { name, folder };
    }
  return undefined;
}

function folderOf(name: string, resolve: (path: string) => string, dirname: (path: string) => string) {
  try {
    return dirname(resolve(`${name}/package.json`));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}

const setupCommand = async (): Promise<string> =>
  [...(await programCommand('alignprop', '@alignprop/cli')), 'setup', 'tensorflow'].join(' ');

/**
 * Loads the package with the `tensorflow` backend, which registers it.
 * @param threads of an operator; by default as the environment says, else all cores
 * @throws if no such package is installed, or its native addon or TensorFlow is missing
 */
export async function loadTensorflow(threads?: number): Promise<void> {
  const found = await findTensorflowPackage();
  if (!found)
    throw new Error(
      `useBackend: backend got 'tensorflow', but ${tensorflowPackages.join(' or ')} is not installed. ` +
        `Run '${await installCommand('--ignore-scripts', tensorflowPackages[1])}', then '${await setupCommand()}'.`,
    );
  await addRemovedFunctions();
  process.env['TF_CPP_MIN_LOG_LEVEL'] ??= '1'; // no messages about the CPU's instructions
  process.env['TF_FORCE_GPU_ALLOW_GROWTH'] ??= 'true'; // by default TensorFlow takes all memory of the GPU at once
  if (threads !== undefined) process.env['TF_NUM_INTRAOP_THREADS'] = String(threads);
  const { createRequire } = await import('node:module');
  try {
    createRequire(import.meta.url)(found.folder);
  } catch (cause) {
    throw new Error(
      `useBackend: the backend 'tensorflow' of ${found.folder} cannot be loaded: ${(cause as Error).message}. ` +
        `Run '${await setupCommand()}'.`,
      { cause },
    );
  }
  if (!findBackend('tensorflow'))
    throw new Error(
      `useBackend: ${found.folder} registered the backend 'tensorflow' in another copy of @tensorflow/tfjs-core. ` +
        'Install it in the same project as this library.',
    );
}

/** Adds the functions of Node's util that tfjs-node calls and Node 23 removed. */
async function addRemovedFunctions(): Promise<void> {
  const { default: util } = await import('node:util');
  const functions = util as { isNullOrUndefined?: unknown; isArray?: unknown };
  functions.isNullOrUndefined ??= (value: unknown) => value === undefined || value === null;
  functions.isArray ??= Array.isArray;
}
