import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { table } from '@alignprop/autograd-ext/outside';
import { installCommand, runtimeInstallCommand } from '@alignprop/autograd-ext';
import { findPackage, ownPackages, packageFolder, versionOf } from '../installed-package.js';
import type { Finding } from './finding.js';

/** The commands that install packages which need more than their name. */
const installers = table<(name: string) => Promise<string>>({
  'onnxruntime-node': () => runtimeInstallCommand(),
  nsfwjs: (name) => installCommand(name, '@tensorflow/tfjs-layers'),
});

/** Packages that users may install, and their purposes. */
const optional = table({
  'onnxruntime-node': 'the fast engine',
  sharp: 'reading and writing JPEG and WebP',
  '@huggingface/hub': 'pushing to the hub',
  koffi: 'training in several processes with Open MPI',
  nsfwjs: 'the reward nsfw-safety',
  '@tensorflow/tfjs-converter': 'rewards that are GraphModels',
  '@tensorflow/tfjs-layers': 'rewards that are LayersModels',
});

/** Packages of which a process should have one copy: they share registries, but each copy costs memory. */
const single = ['@tensorflow/tfjs-core', '@alignprop/autograd-ext', '@alignprop/diffusion'];

/** Tells which optional packages there are, which packages exist twice, and whether ONNX Runtime sends events. */
export async function checkPackages(): Promise<readonly Finding[]> {
  const findings = Object.entries(optional).map(async ([name, purpose]): Promise<Finding> => {
    const found = findPackage(name, ['@alignprop/autograd-ext', '@alignprop/trainer']);
    if (!found)
      return {
        name,
        status: 'ok',
        text: `not installed; for ${purpose}: ${await (installers[name] ?? installCommand)(name)}`,
        values: { installed: false },
      };
    return { name, status: 'ok', text: `${found.version} in ${found.folder}, for ${purpose}`, values: { ...found } };
  });
  return [...(await Promise.all(findings)), ...single.flatMap(checkCopies), checkTelemetry()];
}

function checkCopies(name: string): Finding[] {
  const own = fileURLToPath(import.meta.url);
  const users = [own, join(process.cwd(), 'x'), ...ownPackages.flatMap((user) => packageFolder(user, own) ?? [])];
  const from = users.map((user) => (user === own || user.endsWith('x') ? user : join(user, 'package.json')));
  const copies = [...new Set(from.flatMap((file) => packageFolder(name, file) ?? []))];
  if (copies.length < 2) return [];
  const text = `${copies.length} copies: ${copies.map((folder) => `${versionOf(folder)} in ${folder}`).join(', ')}`;
  return [{ name, status: 'note', text, fix: 'npm dedupe', values: { copies } }];
}

function checkTelemetry(): Finding {
  const value = process.env.ORT_DISABLE_TELEMETRY ?? '1';
  const isOff = value !== '' && value !== '0';
  const text = isOff
    ? 'off: ONNX Runtime sends no events, and writes none to ~/.cache/Microsoft (ORT_DISABLE_TELEMETRY)'
    : `on, as ORT_DISABLE_TELEMETRY='${value}' says: ONNX Runtime sends events to its vendor`;
  return { name: 'telemetry', status: isOff ? 'ok' : 'note', text, values: { off: isOff } };
}
