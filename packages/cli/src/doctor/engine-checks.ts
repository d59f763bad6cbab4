import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { parseJson } from '@alignprop/autograd-ext/outside';
import { findRuntime, rebuildCommand } from '@alignprop/autograd-ext';
import type { Finding } from './finding.js';
import { probeNames, type ProbeName, type ProbeResult } from './engine-probe.js';

/** 10^9 operations of a UNet call of Stable Diffusion 1.5: one image of 512×512, with classifier-free guidance. */
const unetCall = 2 * 803;

/** Milliseconds that an engine has to start, compute and end: those of the default are waited for on a busy machine. */
const patience = { default: 60_000, other: 6000 } as const;

/**
 * Tests every engine and device in a process of its own, so that a library that crashes or hangs ends only its test. A
 * device other than the CPU that does not work is a note: only those who ask for it need it.
 */
export async function checkEngines(): Promise<readonly Finding[]> {
  const { problem } = await findRuntime();
  const missing: Finding[] = problem
    ? [
        {
          name: 'onnxruntime',
          status: 'problem',
          text: `${problem.reason}; the model runs on tfjs, about five times slower`,
          fix: problem.remedy.replace(/^Run: /, ''),
        },
      ]
    : [];
  const findings: Finding[] = [];
  for (const probe of await probeNames()) findings.push(await checkEngine(probe));
  return [...missing, ...findings];
}

/** Engines that the commands use by default. */
const defaults: readonly ProbeName[] = ['onnxruntime:cpu', 'tfjs:wasm'];

/** Devices and backends that compute on the cores of the processor. */
const processors: readonly string[] = ['cpu', 'wasm'];

async function checkEngine(probe: ProbeName): Promise<Finding> {
  const [engine, device] = probe.split(':') as [string, string];
  const name = `${engine} (${device})`;
  try {
    const { gflops, cores } = await probeInProcess(probe);
    const seconds = unetCall / gflops;
    const used = processors.includes(device) ? ` on ${cores.toFixed(1)} of ${availableParallelism()} cores` : '';
    return {
      name,
      status: 'ok',
      text: `works, ${rounded(gflops)} GFLOP/s${used}: a UNet call of SD 1.5 takes about ${rounded(seconds)} s`,
      values: { engine, device, gflops, cores, unet_seconds: seconds },
    };
  } catch (error) {
    const status = defaults.includes(probe) ? 'problem' : 'note';
    const text = `does not work: ${reasonOf(error as Error)}`;
    const fix = device === 'cuda' && process.platform === 'linux' ? await cudaFix() : undefined;
    return { name, status, text, ...(fix && { fix }), values: { engine, device } };
  }
}

const cudaFix = async (): Promise<string> =>
  'with an NVIDIA GPU, CUDA 12 and cuDNN 9: ONNXRUNTIME_NODE_INSTALL=cuda12 ' +
  (await rebuildCommand('onnxruntime-node'));

/** Leaves out what only matters for large models, and the places in ONNX Runtime's sources. */
const reasonOf = ({ message }: Error): string =>
  message
    .replace(/ Its largest tensors: .*/, '')
    .replace(/^OnnxRuntimeEngine: '.*?' failed on \w+: /, '')
    .replace(/^\/onnxruntime_src.*? was false\. /, '');

const rounded = (value: number): string => (value < 10 ? value.toPrecision(2) : value.toFixed(0));

/** Runs `alignprop doctor --probe`, and returns what it prints. */
function probeInProcess(probe: ProbeName): Promise<ProbeResult> {
  const timeout = defaults.includes(probe) ? patience.default : patience.other;
  const args = [...process.execArgv, process.argv[1]!, 'doctor', '--probe', probe];
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, { timeout, killSignal: 'SIGKILL' }, (error, stdout, stderr) => {
      if (!error) return resolve(parseJson(stdout) as ProbeResult);
      reject(new Error(error.killed ? `it took longer than ${timeout / 1000} s` : lastError(stderr, error)));
    });
  });
}

/** The error that the process printed, or how it ended. */
function lastError(stderr: string, { signal, code }: { signal?: NodeJS.Signals | null; code?: unknown }): string {
  const printed = stderr.split('\n').find((line) => line.startsWith('error: '));
  return printed?.slice('error: '.length) ?? `its process ended by ${signal ?? `exit code ${String(code)}`}`;
}
