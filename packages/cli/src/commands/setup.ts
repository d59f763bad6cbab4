import type { Command } from 'commander';
import { findTensorflowPackage, installCommand, tensorflowPackages } from '@alignprop/autograd-ext';
import { buildAddon, findBuildTools } from '../tensorflow/build-addon.js';
import { checkAddon } from '../tensorflow/check-addon.js';
import { findPythonTensorflow } from '../tensorflow/python-tensorflow.js';
import { UsageError } from '../terminal/errors.js';
import { addOutputOptions, Output, type OutputOptions } from '../terminal/output.js';

interface SetupOptions extends OutputOptions {
  python?: string;
}

/** Adds the subcommand `tensorflow` of `alignprop setup`. */
export function defineCommand(command: Command): void {
  const tensorflow = command
    .command('tensorflow')
    .description(
      'Build the native addon of @tensorflow/tfjs-node or @tensorflow/tfjs-node-gpu against the TensorFlow of a ' +
        'Python environment, for --backend tensorflow.',
    )
    .option(
      '--python <program>',
      'The Python whose TensorFlow to use. (default: the active environment, else python3)',
    );
  addOutputOptions(tensorflow).action((options: SetupOptions) => setupTensorflow(options));
  command.addHelpText('after', examples);
}

const examples = `
Examples:
  $ pip install "tensorflow[and-cuda]"                            # without a GPU: tensorflow_cpu
  $ npm install --ignore-scripts @tensorflow/tfjs-node-gpu        # without a GPU: @tensorflow/tfjs-node
  $ alignprop setup tensorflow
  $ alignprop train --backend tensorflow`;

async function setupTensorflow({ python, ...options }: SetupOptions): Promise<void> {
  const output = new Output(options);
  if (process.platform !== 'linux')
    throw new UsageError(
      `setup tensorflow: platform got '${process.platform}', expected linux. ` +
        "Elsewhere tfjs-node downloads its own TensorFlow: run 'npm install @tensorflow/tfjs-node'.",
    );
  const found = await findTensorflowPackage();
  if (!found)
    throw new UsageError(
      `setup tensorflow: ${tensorflowPackages.join(' or ')} got no package, expected one. ` +
        `Run '${await installCommand('--ignore-scripts', tensorflowPackages[0])}', or without -gpu.`,
    );
  output.info(`npm package  ${found.name} in ${found.folder}`);
  const tensorflow = await findPythonTensorflow(python);
  const { version, folder, cudaLibraries } = tensorflow;
  output.info(`TensorFlow   ${version} in ${folder}, with ${cudaLibraries.length} CUDA libraries`);
  const tools = await findBuildTools();
  output.info(`compiler     ${tools.compiler}, with Node's headers in ${tools.headers}`);
  const addon = await buildAddon(found, tensorflow, tools);
  output.info(`addon        ${addon}`);
  const { device } = await checkAddon(found);
  const isGpuMissing = found.name === tensorflowPackages[0] && device === 'cpu';
  if (isGpuMissing)
    output.warn('TensorFlow found no GPU, and runs on the CPU. It needs a driver, and CUDA: see docs/tensorflow.md.');
  output.result(
    { event: 'setup', package: found.name, tensorflow: version, addon, device },
    `TensorFlow ${version} works, on the ${device.toUpperCase()}. Use it with --backend tensorflow.`,
  );
}
