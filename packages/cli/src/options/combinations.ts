import type { Command } from 'commander';
import { table } from '@alignprop/autograd-ext/outside';
import { UsageError } from '../terminal/errors.js';

/** Options that have no effect without another one, by command. */
const needed = table<Readonly<Record<string, string>>>({
  generate: { 'lora-scale': 'lora', 'lora-file': 'lora', revision: 'model', variant: 'model' },
  export: { 'mix-coefficient': 'mix', 'mix-mode': 'mix', revision: 'model', variant: 'model' },
});

/** Options of onnxruntime, which have no effect with `--engine tfjs`. */
const ofOnnxruntime: readonly string[] = ['device', 'threads', 'max-memory'];

/** @throws UsageError if flags were given that have no effect together with, or without, others */
export function checkCombinations(command: Command): void {
  const given = command.options.filter(
    (option) => command.getOptionValueSource(option.attributeName()) === 'cli' && !option.negate,
  );
  const isGiven = (name: string): boolean => given.some((option) => option.name() === name);
  for (const [option, other] of Object.entries(needed[command.name()] ?? {}))
    if (isGiven(option) && !isGiven(other))
      throw new UsageError(`--${option}: has no effect without --${other}. Give --${other}, or leave it out.`);
  const isTfjs = isGiven('engine') && command.getOptionValue('engine') === 'tfjs';
  const unused = isTfjs ? ofOnnxruntime.find(isGiven) : undefined;
  if (unused)
    throw new UsageError(`--${unused}: is an option of onnxruntime, got --engine tfjs. Leave one of them out.`);
}
