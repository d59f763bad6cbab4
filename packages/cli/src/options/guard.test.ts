import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { useBackend } from '@alignprop/autograd-ext';
import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { fixturePath } from '../../../../fixtures/index.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { addTrainingOptions } from '../commands/train.js';
import { embeddedModel } from '../embedded-model.js';
import { run } from '../program.js';
import { applyGuard, guardPrompts } from './guard.js';
import { simpleAnimals } from './prompt-list.js';

const printed = captureOutput();
const folder = temporaryFolder();

/** The options of evaluations that a command line ends up with. */
function guarded(line: string): Record<string, unknown> {
  const command = new Command('train');
  const fields = addTrainingOptions(command);
  command.parse(line.split(' ').filter(Boolean), { from: 'user' });
  applyGuard(command, fields);
  const { evalFreq, evalImagesPerPrompt, evalNumSteps, onCollapse } = command.opts<Record<string, unknown>>();
  return { evalFreq, evalImagesPerPrompt, evalNumSteps, onCollapse };
}

const off = { evalFreq: null, evalImagesPerPrompt: 1, evalNumSteps: null, onCollapse: 'ignore' };

describe('applyGuard', () => {
  it.each<[string, object]>([
    ['', { evalFreq: 10, evalImagesPerPrompt: 2, evalNumSteps: 10, onCollapse: 'stop' }],
    ['--num-epochs 20 --sample-num-steps 4', { evalFreq: 5, evalNumSteps: 4 }],
    ['--num-epochs 1000', { evalFreq: 100 }],
    ['--on-collapse warn --eval-images-per-prompt 3', { onCollapse: 'warn', evalImagesPerPrompt: 3, evalFreq: 10 }],
    ['--no-guard', off],
    ['--num-epochs 9', off],
    ['--num-epochs 9 --guard', { evalFreq: 5, evalImagesPerPrompt: 2, evalNumSteps: 10, onCollapse: 'stop' }],
    ['--guard --eval-freq 3', { evalFreq: 3, evalImagesPerPrompt: 2, evalNumSteps: 10, onCollapse: 'stop' }],
    ['--eval-prompts a.txt', { evalFreq: 10, evalImagesPerPrompt: 2, evalNumSteps: 10, onCollapse: 'stop' }],
    ['--eval-prompts a.txt --eval-num-steps 20', { ...off, evalNumSteps: 20 }],
    ['--algorithm ddpo', { evalFreq: 10, evalImagesPerPrompt: 2, evalNumSteps: 10, onCollapse: 'stop' }],
    ['--eval-prompts a.txt --eval-freq 3', { ...off, evalFreq: 3 }],
  ])('%s', (line, expected) => expect(guarded(line)).toMatchObject(expected));
});

describe('guardPrompts', () => {
  it('are held out from the default prompts', () => {
    for (const prompts of [embeddedModel.prompts, simpleAnimals]) {
      const chosen = guardPrompts({ prompts }).prompts;
      expect(chosen).toHaveLength(4);
      for (const prompt of chosen) expect(prompts).not.toContain(prompt);
    }
  });

  it('are some of other prompts, with what belongs to them', () => {
    const prompts = ['a', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
    const promptMetadata = prompts.map((name, row) => ({ name, row }));
    const chosen = guardPrompts({ prompts, promptMetadata });
    expect(chosen.prompts).toEqual(['a', 'c', 'e', 'g']);
    expect(chosen.promptMetadata).toEqual([0, 3, 5, 7].map((row) => ({ name: prompts[row], row })));
    expect(guardPrompts({ prompts: ['a'] }).prompts).toEqual(['a']);
  });
});

it('evaluates a run by itself, and goes on doing so when it is resumed', async () => {
  await useBackend('wasm');
  const out = join(folder, 'run');
  const line =
    `train --model ${fixturePath('sd2-tiny/model')} --output-dir ${out} --engine tfjs --sample-num-steps 1 ` +
    '--truncated-backprop-rand false --truncated-backprop-timestep 0 --sample-guidance-scale 1 --height 16 ' +
    '--width 16 --num-epochs 10 --save-freq 10 --log-image-freq 10 --on-collapse warn';
  expect(await run(line.split(' '))).toBe(0);
  expect(await run(['resume', out, '--num-epochs', '15'])).toBe(0);
  const lines = readFileSync(join(out, 'evaluations.jsonl'), 'utf8').trim().split('\n');
  const evaluations = lines.map((each) => JSON.parse(each) as Record<string, number>);
  expect(evaluations.map(({ global_step }) => global_step)).toEqual([0, 5, 10, 15]);
  for (const each of evaluations) {
    expect(each.eval_diversity).toBeGreaterThan(0);
    expect(each.eval_recognised).toBeGreaterThanOrEqual(0);
  }
  expect(printed.stdout).toContain('Best  ');
  // The command of its report, that trains again.
  const again = ['train', '--config', join(out, 'config.json'), '--guard', '--dry-run', '--output-dir', `${out}-again`];
  expect(await run([...again, '--model', fixturePath('sd2-tiny/model')])).toBe(0);
  expect((JSON.parse(readFileSync(join(out, 'run.json'), 'utf8')) as { options: object }).options).toMatchObject({
    guard: true,
  });
});

it('watches four of the held-out prompts, and compares all of them after training as the run draws', async () => {
  await useBackend('wasm');
  const [out, prompts] = [join(folder, 'held'), join(folder, 'held.txt')];
  writeFileSync(prompts, 'a\nb\nc\nd\ne\n');
  const line =
    `train --model ${fixturePath('sd2-tiny/model')} --output-dir ${out} --engine tfjs --sample-num-steps 12 ` +
    '--estimator draft-k --sample-guidance-scale 1 --height 16 --width 16 --num-epochs 10 --save-freq 10 ' +
    `--log-image-freq 10 --on-collapse warn --eval-prompts ${prompts} --json`;
  /** Runs the command; returns the steps of evaluations, and how many images were judged after training. */
  const outcome = async (words: readonly string[]) => {
    const start = printed.stdout.length;
    expect(await run(words)).toBe(0);
    const events = printed.stdout
      .slice(start)
      .trim()
      .split('\n')
      .map((each) => JSON.parse(each) as { event: string; global_step: number; after: number[] });
    return {
      evaluated: events.filter(({ event }) => event === 'evaluation').map((each) => each.global_step),
      judged: events.find(({ event }) => event === 'judged')!.after.length,
    };
  };
  expect(await outcome(line.split(' '))).toEqual({ evaluated: [0, 5, 10], judged: 5 });
  expect(await outcome(['resume', out, '--num-epochs', '15', '--json'])).toEqual({ evaluated: [15], judged: 5 });
});
