import type * as OnnxRuntime from 'onnxruntime-node';
import { findOptional, installCommand, type LoadError } from '../../../optional-package.js';

/** The package `onnxruntime-node`. */
export type Runtime = typeof OnnxRuntime;

/** The version that the engine is tested with, as in package.json. */
export const runtimeVersion = '1.30.0';

/** Tells why ONNX Runtime cannot be used, and what to do. */
export interface RuntimeProblem {
  /** Begins with a lower-case letter and has no full stop. */
  readonly reason: string;
  /** A sentence, with the command to run. */
  readonly remedy: string;
  /** Whether no program on this platform can have it: browsers. */
  readonly isExpected: boolean;
}

/** ONNX Runtime, or the problem with it. */
export type RuntimeSearch =
  | { readonly runtime: Runtime; readonly problem?: undefined }
  | { readonly runtime?: undefined; readonly problem: RuntimeProblem };

let latest: Promise<RuntimeSearch> | undefined;

/**
 * Loads ONNX Runtime once; calls made at the same time share the load. A search that fails is repeated by the next
 * call.
 *
 * Disables the events that ONNX Runtime 1.30 sends to its vendor, and the database of them that it writes to the user's
 * cache folder, unless the environment variable ORT_DISABLE_TELEMETRY is set. In a worker thread, which has a copy of
 * the environment, this has no effect: set the variable before the program starts.
 */
export async function findRuntime(): Promise<RuntimeSearch> {
  latest ??= search();
  const result = await latest;
  if (result.problem) latest = undefined;
  return result;
}

async function search(): Promise<RuntimeSearch> {
  if (typeof process === 'undefined' || process.versions?.node === undefined)
    return { problem: { reason: 'ONNX Runtime runs in Node', remedy: 'Use the tfjs engine.', isExpected: true } };
  process.env.ORT_DISABLE_TELEMETRY ??= '1';
  // Typed as string, so that bundlers leave it to Node: they cannot bundle its libraries.
  const name: string = 'onnxruntime-node';
  const load = () =>
    import(/* webpackIgnore: true */ /* @vite-ignore */ name) as Promise<Runtime & { default?: Runtime }>;
  const found = await findOptional(name, load);
  if (found.error) return { problem: await runtimeProblem(found) };
  return { runtime: found.module.default ?? found.module };
}

/** Explains the error of a package that is missing or does not load. */
export async function runtimeProblem({ error, isMissing }: LoadError): Promise<RuntimeProblem> {
  const install = await runtimeInstallCommand();
  const missing = { reason: 'onnxruntime-node is not installed', remedy: `Run: ${install}`, isExpected: false };
  if (isMissing) return missing;
  const [message] = error.message.split('\n') as [string];
  const advice = loadFaults.find(([pattern]) => pattern.test(message))?.[1];
  return {
    reason: `onnxruntime-node is installed but cannot be loaded (${message})`,
    remedy: advice ?? `Delete its folder and run: ${install}`,
    isExpected: false,
  };
}

/** Messages of the system's loader, and what to do about them. */
const loadFaults: readonly (readonly [RegExp, string])[] = [
  [
    /napi-v\d+\/\w+\/\w+\/onnxruntime_binding\.node'/,
    'It has libraries for Linux and Windows (x64, arm64) and macOS (arm64) only.',
  ],
  [/VERS_[\d.]+' not found/, `Another version is loaded in this process. Install ${runtimeVersion} for both users.`],
  [
    /GLIBC|libstdc\+\+|ld-linux|symbol not found/,
    'It needs glibc 2.28 or newer and libstdc++. Alpine Linux lacks glibc: use a Debian image, such as node:22-slim.',
  ],
];

/**
 * The command that installs ONNX Runtime here. On Linux x64 its install script would download CUDA's libraries, and npm
 * removes the package if that fails; the variable skips the script.
 */
export async function runtimeInstallCommand(): Promise<string> {
  const skip = process.platform === 'linux' && process.arch === 'x64' ? 'ONNXRUNTIME_NODE_INSTALL=skip ' : '';
  return `${skip}${await installCommand(`onnxruntime-node@${runtimeVersion}`)}`;
}
