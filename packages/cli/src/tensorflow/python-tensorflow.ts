import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { pathExists } from '../path-exists.js';
import { parseJson } from '@alignprop/autograd-ext/outside';
import { UsageError } from '../terminal/errors.js';
import { lastLines, runProgram } from './run-program.js';

/** A TensorFlow that pip installed. */
export interface PythonTensorflow {
  /** The Python that sees it. */
  readonly python: string;
  readonly version: string;
  /** The folder of the Python package, with `include/` and the libraries. */
  readonly folder: string;
  /** CUDA libraries that pip installed beside it, absolute paths. */
  readonly cudaLibraries: readonly string[];
}

/** The libraries with TensorFlow's C API, in the folder of the Python package. */
export const tensorflowLibraries = ['libtensorflow_cc.so.2', 'libtensorflow_framework.so.2'] as const;
/** The first version whose wheel has them. */
const oldest = [2, 15] as const;

/** Finds the package without importing it, which takes seconds. */
const script = `
import importlib.metadata, importlib.util, json, sys
spec = importlib.util.find_spec('tensorflow')
names = ['tensorflow', 'tensorflow-cpu', 'tensorflow-cpu-aws', 'tensorflow-gpu', 'tf-nightly', 'tf-nightly-cpu']
def version(name):
    try: return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError: return None
folders = list(spec.submodule_search_locations or []) if spec else []
print(json.dumps({'folder': folders[0] if folders else None, 'version': next(filter(None, map(version, names)), None)}))
`;

/**
 * Finds the TensorFlow of a Python: the given one, else that of the active environment, else `python3`.
 * @throws UsageError if there is no Python, no TensorFlow in it, or one without the C API
 */
export async function findPythonTensorflow(given?: string): Promise<PythonTensorflow> {
  const pythons = given ? [given] : candidates();
  const withoutTensorflow: string[] = [];
  for (const python of pythons) {
    const found = await askPython(python);
    if (!found) continue;
    if (found.folder) return checkTensorflow(python, found.folder, found.version ?? 'unknown');
    withoutTensorflow.push(python);
  }
  if (withoutTensorflow.length > 0)
    throw new UsageError(
      `setup tensorflow: ${withoutTensorflow.join(', ')} got no module 'tensorflow', expected one. ` +
        `Run '${withoutTensorflow[0]!} -m pip install "tensorflow[and-cuda]"' for a GPU, or 'tensorflow_cpu' without.`,
    );
  throw new UsageError(
    `setup tensorflow: Python got ${given ? `'${given}'` : 'nothing'}, expected a program that runs ` +
      `(tried ${pythons.join(', ')}). Install Python with TensorFlow, and name it with --python.`,
  );
}

function candidates(): string[] {
  const environments = [process.env['VIRTUAL_ENV'], process.env['CONDA_PREFIX']].filter(
    (folder) => folder !== undefined,
  );
  return [...environments.map((folder) => join(folder, 'bin/python')), 'python3', 'python'];
}

async function askPython(python: string): Promise<{ folder: string | null; version: string | null } | undefined> {
  const result = await runProgram(python, ['-c', script]);
  if (!result) return undefined;
  if (result.code !== 0)
    throw new UsageError(
      `setup tensorflow: ${python} ended with ${String(result.code)}, expected 0:\n${lastLines(result.stderr)}`,
    );
  return parseJson(result.stdout) as { folder: string | null; version: string | null };
}

async function checkTensorflow(python: string, folder: string, version: string): Promise<PythonTensorflow> {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const isOld = major < oldest[0] || (major === oldest[0] && minor < oldest[1]);
  const missing = [...tensorflowLibraries, 'include/tensorflow/c/c_api.h'].filter(
    (name) => !pathExists(join(folder, name)),
  );
  if (isOld || missing.length > 0)
    throw new UsageError(
      `setup tensorflow: TensorFlow of ${python} got version ${version}` +
        `${missing.length > 0 ? ` without ${missing.join(', ')}` : ''}, expected ${oldest.join('.')} or newer. ` +
        `Run '${python} -m pip install --upgrade tensorflow'.`,
    );
  return { python, version, folder, cudaLibraries: await findCudaLibraries(join(folder, '../nvidia')) };
}

/** The libraries in `nvidia/<package>/lib`, where `pip install tensorflow[and-cuda]` puts CUDA and cuDNN. */
async function findCudaLibraries(nvidia: string): Promise<string[]> {
  const folders = pathExists(nvidia) ? (await readdir(nvidia)).map((name) => join(nvidia, name, 'lib')) : [];
  const files = await Promise.all(
    folders.filter(pathExists).map(async (folder) => (await readdir(folder)).map((name) => join(folder, name))),
  );
  return files.flat().filter((file) => /\.so\.[\d.]+$/.test(file));
}
