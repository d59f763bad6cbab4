import type { Command } from 'commander';
import type { ConfigOption } from './config-options.js';
import { guardSource } from './option-sources.js';
import type { PromptList } from './prompt-columns.js';
import { embeddedModel } from '../embedded-model.js';
import { simpleAnimals } from './prompt-list.js';

/** Values of the options that decide the guard of a run. */
export interface GuardOptions {
  guard?: boolean;
  algorithm: string;
  evalPrompts?: unknown;
  numEpochs: number;
  sampleNumSteps: number;
}

/** Prompts of the guard, denoising steps at most, and epochs between two evaluations at least. */
const [promptCount, maxSteps, minEpochs] = [4, 10, 5];
/** Animals that are not among those that are trained on by default. */
const otherAnimals = ['panda', 'owl', 'penguin', 'crab'];

/** Adds `--no-guard`. */
export const addGuard = (command: Command): Command =>
  command.option(
    '--no-guard',
    `Turn off the guard of runs without --eval-prompts and of 10 epochs or more: ${promptCount} prompts drawn from ` +
      'the same noise before training and every tenth of the run, which ends with the best adapter kept when their ' +
      'pictures collapse (--on-collapse).',
  );

/** Sets the options of evaluations of a run that has no held-out prompts of its own, unless it is to have no guard. */
export function applyGuard(command: Command, fields: readonly ConfigOption[]): void {
  const { guard, algorithm, evalPrompts, numEpochs, sampleNumSteps } = command.opts<GuardOptions>();
  const isSet = (key: string) => !['default', undefined].includes(command.getOptionValueSource(key));
  if (!guard || algorithm !== 'alignprop' || evalPrompts !== undefined) return;
  if (isSet('evalFreq') || numEpochs < 2 * minEpochs) return;
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
}

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
