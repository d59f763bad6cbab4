import type { Command } from 'commander';
import type { ConfigOption } from './config-options.js';
import { guardSource } from './option-sources.js';
import type { RunConfig } from './run-config.js';
import type { PromptList } from './prompt-columns.js';
import { embeddedModel } from '../embedded-model.js';
import { simpleAnimals } from './prompt-list.js';

/** Values of the options that decide the guard of a run. */
export interface GuardOptions {
  guard?: boolean;
  evalPrompts?: unknown;
  numEpochs: number;
  sampleNumSteps: number;
}

/** Prompts of the guard, denoising steps at most, and epochs between two evaluations at least. */
const [promptCount, maxSteps, minEpochs] = [4, 10, 5];
/** Animals that are not among those that are trained on by default. */
const otherAnimals = ['panda', 'owl', 'penguin', 'crab'];

/** Adds `--guard` and `--no-guard`. */
export const addGuard = (command: Command): Command =>
  command
    .option(
      '--guard',
      `Watch the run whatever its length: ${promptCount} prompts are drawn from the same noise before training and ` +
        'every tenth of the run, or every --eval-freq epochs, and it ends with the best adapter kept when their ' +
        'pictures collapse (--on-collapse). Runs of 10 epochs or more without --eval-freq do so by themselves.',
    )
    .option('--no-guard', 'Turn that off.');

/**
 * Sets the options of evaluations of a run that says nothing about them, unless it is to have no guard, and marks that:
 * a resumed run goes on with its guard.
 */
export function applyGuard(command: Command, fields: readonly ConfigOption[]): void {
  const { guard, evalPrompts, numEpochs, sampleNumSteps } = command.opts<GuardOptions>();
  const isSet = (key: string) => !['default', undefined].includes(command.getOptionValueSource(key));
  if (guard === false) return;
  if (guard === undefined) {
    if (isSet('evalFreq') || numEpochs < 2 * minEpochs) return;
    // The comparison after training has these settings; the guard would change them.
    if (evalPrompts !== undefined && ['evalNumSteps', 'evalImagesPerPrompt'].some(isSet)) return;
  }
  const settings = {
    eval_freq: Math.max(minEpochs, Math.ceil(numEpochs / 10)),
    eval_images_per_prompt: 2,
    eval_num_steps: Math.min(maxSteps, sampleNumSteps),
    on_collapse: 'stop',
  };
  for (const [name, value] of Object.entries(settings)) {
    const { key } = fields.find(({ field }) => field === name)!;
    if (!isSet(key)) command.setOptionValueWithSource(key, value, guardSource);
  }
  command.setOptionValueWithSource('guard', true, guardSource);
}

/** Whether the evaluations of a run are those of its guard. */
export const isGuarded = (command: Command): boolean => command.opts<GuardOptions>().guard === true;

/** The configuration of the comparison after training in a guarded run: it draws as training does. */
export const comparisonConfig = (config: RunConfig): RunConfig => ({
  ...config,
  eval_num_steps: null,
  eval_images_per_prompt: 1,
});

/** The prompts of the guard: held-out ones where the training prompts are the default, else some of these. */
export function guardPrompts({ prompts, promptMetadata, negativePrompts }: PromptList): PromptList {
  if (prompts === embeddedModel.prompts) return { prompts: embeddedModel.evalPrompts.slice(0, promptCount) };
  if (prompts === simpleAnimals) return { prompts: otherAnimals };
  const distinct = prompts.map((_, i) => i).filter((i) => prompts.indexOf(prompts[i]!) === i);
  const count = Math.min(promptCount, distinct.length);
  const chosen = Array.from({ length: count }, (_, i) => distinct[Math.floor((i * distinct.length) / count)]!);
  const pick = <T>(list: readonly T[] | undefined) => list && chosen.map((i) => list[i]!);
  return {
    prompts: pick(prompts)!,
    promptMetadata: pick(promptMetadata),
    negativePrompts: pick(negativePrompts),
  };
}
