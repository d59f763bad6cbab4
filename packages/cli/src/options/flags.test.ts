import { Command } from 'commander';
import { beforeAll, describe, expect, it } from 'vitest';
import { commandList } from '../commands/command-list.js';
import { asTyped, canonicalFlags, otherNames, sharedOptions } from './flags.js';

describe('canonicalFlags', () => {
  it.each([
    ['--num-epochs', '--num-epochs'],
    ['--num_epochs', '--num-epochs'],
    ['--num_epochs=3', '--num-epochs=3'],
    ['--no_allow_tf32', '--no-allow-tf32'],
    ['--alignprop_config.truncated_rand_backprop_minmax=(0,50)', '--truncated-rand-backprop-minmax=(0,50)'],
    ['--alignprop-config.num-epochs', '--num-epochs'],
    ['--output_dir=my_run', '--output-dir=my_run'],
    ['my_prompt', 'my_prompt'],
    ['-o', '-o'],
    ['-1', '-1'],
  ])('rewrites %s to %s', (written, canonical) => expect(canonicalFlags([written]).args).toEqual([canonical]));

  it('leaves arguments after -- as they are', () => {
    const { args } = canonicalFlags(['--num_images', '2', '--', '--a_b']);
    expect(args).toEqual(['--num-images', '2', '--', '--a_b']);
  });

  it.each(sharedOptions)('gives the options of $names the name and the value that the command has', (option) => {
    const { names, others = [], values = {} } = option;
    for (const [own, commands] of Object.entries(names))
      for (const command of commands)
        for (const name of [...Object.keys(names), ...others]) {
          expect(canonicalFlags([command, `${name}=3`]).args).toEqual([command, `${own}=3`]);
          expect(canonicalFlags([command, name, '3']).args).toEqual([command, own, '3']);
          expect(canonicalFlags(['score', name]).args).toEqual(['score', name]);
          expect(otherNames(command).includes(`${name} for ${own}`)).toBe(name !== own);
          for (const [value, meant] of Object.entries(values)) {
            const isOther = name !== own;
            expect(canonicalFlags([command, name, value]).args).toEqual([command, own, isOther ? meant : value]);
            expect(canonicalFlags([command, `${name}=${value}`]).args[1]).toBe(`${own}=${isOther ? meant : value}`);
          }
        }
  });
});

describe('the options of all commands', () => {
  /** Options by their long flag, in every spelling that a command has. */
  const spellings = new Map<string, Set<string>>();
  const longs = new Map<string, Set<string>>();
  const collect = (command: Command): void => {
    longs.set(command.name(), new Set(command.options.map(({ long }) => long!)));
    for (const { long, flags } of command.options) {
      const spelling = flags.replace(' [true|false]', ''); // a switch takes no value beside arguments such as prompts
      spellings.set(long!, (spellings.get(long!) ?? new Set()).add(spelling));
    }
    command.commands.forEach(collect);
  };
  beforeAll(async () => {
    for (const [name, { load }] of Object.entries(commandList)) {
      const command = new Command(name);
      (await load()).defineCommand(command);
      collect(command);
    }
  });

  it('have the names that the table of shared options gives them', () => {
    for (const { names } of sharedOptions)
      for (const [name, commands] of Object.entries(names))
        for (const command of commands) expect([command, ...longs.get(command)!]).toContain(name);
  });

  it('are written in one way in every command that has them', () => {
    const different = [...spellings.values()].filter((flags) => flags.size > 1).map((flags) => [...flags].sort());
    expect(different).toEqual([]);
  });
});

describe('asTyped', () => {
  it('names flags as they were typed', () => {
    const { typed } = canonicalFlags(['train', '--num_epochs=3', '--steps', '4', '--seed', '1']);
    expect(asTyped('--num-epochs, --sample-num-steps and --seed', typed)).toBe('--num_epochs, --steps and --seed');
  });
});
