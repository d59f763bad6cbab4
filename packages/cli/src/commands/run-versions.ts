import { tensorflowDevice, type Engine } from '@alignprop/autograd-ext';
import { findPackage, ownPackages } from '../installed-package.js';
import { programVersion } from '../version.js';

/** Versions of Node and of the packages that compute a run on any engine, by name. */
export const runVersions = (): Readonly<Record<string, string>> => ({
  ...versionsOf([...ownPackages, '@tensorflow/tfjs-core']),
  '@alignprop/cli': programVersion(),
  node: process.versions.node,
  platform: `${process.platform}-${process.arch}`,
});

/** Versions of the packages that an engine computes with, by name. */
export function engineVersions({ name, device }: Pick<Engine, 'name' | 'device'>): Readonly<Record<string, string>> {
  if (name === 'onnxruntime') return versionsOf(['onnxruntime-node']);
  const tensorflow = device === 'tensorflow' ? tensorflowDevice()?.version : undefined;
  return tensorflow === undefined ? versionsOf([`@tensorflow/tfjs-backend-${device}`]) : { tensorflow };
}

function versionsOf(names: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(
    names.map((name) => [name, findPackage(name, ['@alignprop/autograd-ext'])?.version ?? 'unknown']),
  );
}
