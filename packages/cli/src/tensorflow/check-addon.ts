import { parseJson } from '@alignprop/autograd-ext/outside';
import type { TensorflowPackage } from '@alignprop/autograd-ext';
import { lastLines, runProgram } from './run-program.js';

/** Loads the package and multiplies two matrices. Prints the device, on a line of its own. */
const program = `
const util = require('util');
util.isNullOrUndefined = (value) => value == null;
util.isArray = Array.isArray;
const tf = require(process.argv[1]);
const [product] = tf.matMul([[2]], [[3]]).dataSync();
if (product !== 6) throw new Error('2 · 3 got ' + product + ', expected 6');
console.log('\\n' + JSON.stringify({ device: tf.backend().isUsingGpuDevice ? 'gpu' : 'cpu' }));
`;

/**
 * Runs a product on a built addon, in a process of its own, since a library that is missing or broken may end it.
 * @returns the device that TensorFlow uses
 * @throws if the addon does not load or its result is wrong
 */
export async function checkAddon({ folder }: TensorflowPackage): Promise<{ readonly device: 'cpu' | 'gpu' }> {
  const result = await runProgram(process.execPath, ['--no-deprecation', '-e', program, folder]);
  if (result?.code !== 0)
    throw new Error(`setup tensorflow: the addon was built, but does not work:\n${lastLines(result?.stderr ?? '')}`);
  return parseJson(result.stdout.trimEnd().split('\n').at(-1)!) as { device: 'cpu' | 'gpu' };
}
