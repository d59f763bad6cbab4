// npm run gpu-check [-- --quick --no-benchmark] Checks the GPU of this machine: which of TensorFlow and the devices of
// ONNX Runtime start on it, their reference tests, and the time and memory of UNet calls and training steps. Prints a
// report to send in. With --quick, one file of tests and one measurement; with --no-benchmark, tests alone.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { arch, cpus, platform, totalmem } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { devices, findRuntime, findTensorflowPackage, tensorflowDevice, useBackend } from '@alignprop/autograd-ext';

const root = fileURLToPath(new URL('../../', import.meta.url));
const { values: flags } = parseArgs({
  options: { quick: { type: 'boolean', default: false }, benchmark: { type: 'boolean', default: true } },
  allowNegative: true,
});

/** An engine that started here. */
interface Found {
  readonly name: string;
  readonly isGpu: boolean;
  /** The names of its tests, as a pattern, and the environment that turns them on. */
  readonly tests: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Its names in tools/bench. */
  readonly benchmarks: readonly string[];
}

console.log(`machine     ${platform()} ${arch()}, ${cpus().length} × ${cpus()[0]!.model}`);
console.log(`memory      ${(totalmem() / 2 ** 30).toFixed(0)} GiB`);
console.log(`node        ${process.versions.node}`);
console.log(`driver      ${(await output('nvidia-smi', ['-L'])) ?? 'no nvidia-smi'}`);
const found = [...(await findTensorflow()), ...(await findDevices())];
if (!found.some(({ isGpu }) => isGpu)) console.log('\nNO GPU: THIS CHECKS THE CPU ONLY.');
let failures = 0;
for (const engine of found) failures += await runTests(engine);
if (flags.benchmark) await runBenchmark();
const names = found.map(({ name }) => name).join(', ');
console.log(failures > 0 ? `\n${failures} tests FAIL.` : `\n${names ? `All tests pass on ${names}.` : 'No test ran.'}`);
process.exit(failures === 0 ? 0 : 1);

/** TensorFlow, if it is set up. Says so, or why not. */
async function findTensorflow(): Promise<Found[]> {
  try {
    await useBackend('tensorflow');
  } catch (error) {
    console.log(`tensorflow  ${(error as Error).message}`);
    return [];
  }
  const { version, device } = tensorflowDevice()!;
  console.log(`tensorflow  ${version} of ${(await findTensorflowPackage())!.name} on the ${device.toUpperCase()}`);
  const benchmarks = ['tensorflow', 'tensorflow-bfloat16', 'tensorflow-float16'];
  return [{ name: `tensorflow (${device})`, isGpu: device === 'gpu', tests: 'tensorflow', benchmarks }];
}

/** The devices of ONNX Runtime that start, each tried in a process of its own. Says why others do not. */
async function findDevices(): Promise<Found[]> {
  const supported = (await findRuntime()).runtime?.listSupportedBackends().map(({ name }) => name);
  const started: Found[] = [];
  for (const device of devices.filter((name) => name !== 'cpu' && supported?.includes(name))) {
    const args = [join(root, 'packages/cli/src/main.ts'), 'doctor', '--probe', `onnxruntime:${device}`];
    const printed = await output(process.execPath, [...process.execArgv, ...args], { quiet: true });
    console.log(`onnxruntime ${device}: ${printed ? printed : 'does not start; alignprop doctor says why'}`);
    if (!printed) continue;
    const name = `onnxruntime-${device}`;
    const env = { TEST_DEVICES: device };
    started.push({
      name,
      isGpu: true,
      tests: `(onnxruntime-| on )${device}`,
      env,
      benchmarks: [name, `${name}-float16`],
    });
  }
  return started;
}

interface TestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly {
    readonly message: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

/** Runs the tests of kernels and the reference tests on an engine. @returns the number of failures */
async function runTests({ name, tests, env }: Found): Promise<number> {
  const files = flags.quick ? ['packages/diffusion/src/models/autoencoder-kl.test.ts'] : testFiles();
  const args = ['vitest', 'run', '-t', tests, '--reporter=json', ...files];
  const report = JSON.parse((await output('npx', args, { env })) ?? '{}') as TestReport;
  const { numPassedTests: passed, numFailedTests: failed, testResults } = report;
  console.log(`\ntests       ${name}: ${passed} passed, ${failed} failed, in ${files.length} files`);
  for (const { message, assertionResults } of testResults) {
    if (message) console.log(message);
    for (const { fullName, status, failureMessages } of assertionResults)
      if (status === 'failed') console.log(`FAILED      ${fullName}\n${failureMessages.join('\n')}`);
  }
  return failed + testResults.filter(({ message }) => message).length;
}

/** The test files that run on every engine or backend, and those of the backend's kernels. */
function testFiles(): string[] {
  const files = readdirSync(join(root, 'packages'), { recursive: true, encoding: 'utf8' })
    .filter((file) => /^[a-z-]+\/src\/.*\.test\.ts$/.test(file))
    .map((file) => join('packages', file));
  return files.filter((file) =>
    /\b(engineNames|testBackends|testDevices|hasTensorflow)\b/.test(readFileSync(join(root, file), 'utf8')),
  );
}

/** Prints the table of tools/bench for the engines in their precisions, and for ONNX Runtime on the CPU. */
async function runBenchmark(): Promise<void> {
  const names = flags.quick
    ? found.map(({ benchmarks: [first] }) => first!)
    : found.flatMap(({ benchmarks }) => benchmarks);
  const engines = [...names, 'onnxruntime'].join();
  const args = ['--engine', engines, '--only', 'unet,train', '--steps', '5', '--attached', '2', '--runs', '3'];
  console.log(await output(process.execPath, [...process.execArgv, join(root, 'tools/bench/main.ts'), ...args]));
}

interface OutputOptions {
  readonly env?: NodeJS.ProcessEnv | undefined;
  /** Leaves out what it prints to stderr. */
  readonly quiet?: boolean;
}

/** The output of a program; undefined if there is none of that name. */
async function output(
  program: string,
  args: readonly string[],
  { env, quiet }: OutputOptions = {},
): Promise<string | undefined> {
  const stdio = ['ignore', 'pipe', quiet ? 'ignore' : 'inherit'] as const;
  const child = spawn(program, args, { cwd: root, stdio: [...stdio], env: { ...process.env, ...env } });
  const failed = once(child, 'error').then(() => undefined);
  return Promise.race([text(child.stdout!).then((printed) => printed.trim()), failed]);
}
