import { programCommand } from '@alignprop/autograd-ext';
import { commandLine } from './shell.js';

const words = await programCommand('alignprop', '@alignprop/cli');

/** The command that runs this program with arguments, quoted for the user's shell: `npx alignprop resume out`. */
export const ownCommand = (...args: readonly string[]): string => launchedCommand([], ...args);

/** Returns `ownCommand` behind the words of a launcher of processes: `mpirun -np 2 alignprop resume out`. */
export const launchedCommand = (launcher: readonly string[], ...args: readonly string[]): string =>
  commandLine([...launcher, ...words, ...args]);
