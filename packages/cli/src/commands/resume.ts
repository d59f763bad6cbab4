import type { Command } from 'commander';
import { findManifest } from '@alignprop/trainer';
import { UsageError } from '../terminal/errors.js';
import { addTrainingOptions, train } from './train.js';

/** Adds the arguments, options and action of `alignprop resume`. */
export function defineCommand(command: Command): void {
  command.argument('<folder>', 'Folder of the run, or one of its checkpoints to go back to.');
  const fields = addTrainingOptions(command);
  command.addHelpText('after', help).action(async (folder: string) => {
    if (command.getOptionValueSource('resumeFrom') === 'cli')
      throw new UsageError(`--resume-from: got a folder besides '${folder}', expected none. Leave it out.`);
    if (!(await findManifest(folder)))
      throw new UsageError(
        `resume: got '${folder}', expected the folder of a run, with run.json or checkpoints. Check the path.`,
      );
    command.setOptionValueWithSource('resumeFrom', folder, 'cli');
    await train(command, fields);
  });
}

const help = `
All options are those of the run, which its run.json has, unless given here; --help-all lists them. Names and places,
num_epochs, save_freq and the like may change. Learning rate, sampling, seed or prompts may change with a warning.
Model, reward and adapter may not, unless --force names them.

Examples:
  $ alignprop resume out
  $ alignprop resume out --num-epochs 200
  $ alignprop resume out/checkpoints/checkpoint_50 --output-dir from-50 --train-learning-rate 1e-4`;
