// npm run gpu-check [-- --quick] Checks the tensorflow backend on this machine: which device TensorFlow found, the
// reference tests, and the time and memory of UNet calls and training steps. Prints a report to send in. With --quick,
// one file of tests and one measurement.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { arch, cpus, platform, totalmem } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { findTensorflowPackage, tensorflowDevice, useBackend } from '@alignprop/autograd-ext';

const root = fileURLToPath(new URL('../../', import.meta.url));
const { values: flags } = parseArgs({ options: { quick: { type: 'boolean', default: false } } });

console.log(`machine     ${platform()} ${arch()}, ${cpus().length} × ${cpus()[0]!.model}`);
console.log(`memory      ${(totalmem() / 2 ** 30).toFixed(0)} GiB`);
console.log(`node        ${process.versions.node}`);
console.log(`driver      ${(await output('nvidia-smi', ['-L'])) ?? 'no nvidia-smi'}`);
await useBackend('tensorflow');
const found = (await findTensorflowPackage())!;
const { version, device } = tensorflowDevice()!;
console.log(`package     ${found.name}`);
console.log(`tensorflow  ${version} on the ${device.toUpperCase()}`);
if (device === 'cpu') console.log('\nNO GPU: THIS CHECKS THE CPU ONLY.');
const failures = await runTests();
await runBenchmark();
console.log(failures === 0 ? `\nAll tests pass on the ${device.toUpperCase()}.` : `\n${failures} tests FAIL.`);
process.exit(failures === 0 ? 0 : 1);

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

/** Runs the tests of kernels and the reference tests on the backend. @returns the number of failures */
async function runTests(): Promise<number> {
  const files = flags.quick ? ['packages/diffusion/src/models/unet-2d-condition.test.ts'] : testFiles();
  const args = ['vitest', 'run', '-t', 'tensorflow', '--reporter=json', ...files];
  const report = JSON.parse((await output('npx', args)) ?? '{}') as TestReport;
  const { numPassedTests: passed, numFailedTests: failed, testResults } = report;
  console.log(`\ntests       ${passed} passed, ${failed} failed, in ${files.length} files`);
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
    /\b(engineNames|testBackends|hasTensorflow)\b/.test(readFileSync(join(root, file), 'utf8')),
  );
}

/** Prints the table of tools/bench for the backend in its precisions, and for the other engines. */
async function runBenchmark(): Promise<void> {
  const engines = flags.quick ? 'tensorflow' : 'tensorflow,tensorflow-bfloat16,tensorflow-float16,onnxruntime';
  const args = ['--engine', engines, '--only', 'unet,train', '--steps', '5', '--attached', '2', '--runs', '3'];
  console.log(await output(process.execPath, [...process.execArgv, join(root, 'tools/bench/main.ts'), ...args]));
}

/** The output of a program; undefined if there is none of that name. */
async function output(program: string, args: readonly string[]): Promise<string | undefined> {
  const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
  const failed = once(child, 'error').then(() => undefined);
  return Promise.race([text(child.stdout).then((printed) => printed.trim()), failed]);
}
