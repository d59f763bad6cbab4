// The commands of the documentation. Every one is read by the command's own parser; those of blocks that open with
// ```sh run are executed, in a folder with a run of one step in out/; so are rewards. Configurations are read.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { captureOutput } from '../../../fixtures/capture-output.js';
import { commandsOf, documentedBlocks, wordsOf, type Block } from '../../../fixtures/documented-blocks.js';
import { temporaryFolder } from '../../../fixtures/temporary-folder.js';
import { commandList } from './commands/command-list.js';
import { checkCombinations } from './options/combinations.js';
import { applyConfigFile } from './options/config-file.js';
import { configOptions } from './options/config-options.js';
import { canonicalFlags } from './options/flags.js';
import { run } from './program.js';

const printed = captureOutput();
const folder = temporaryFolder();
const home = process.cwd();
beforeAll(() => process.chdir(folder));
afterAll(() => process.chdir(home));

const blocks = documentedBlocks();
const ofKind = (...kinds: readonly string[]): readonly Block[] => blocks.filter(({ kind }) => kinds.includes(kind));

/** The arguments of the `alignprop` in a command, `npx alignprop` and `mpirun … alignprop` too; undefined without. */
function argumentsOf(command: string): readonly string[] | undefined {
  const words = wordsOf(command.replace(/ [>|] .*/, ''));
  const at = words.indexOf('alignprop');
  return at < 0 ? undefined : words.slice(at + 1);
}

/** Reads a command line as the program does, without running it. @throws what the program would say */
async function parse(args: readonly string[]): Promise<Command> {
  const { args: canonical } = canonicalFlags(args);
  const command = new Command(canonical[0]).exitOverride().configureOutput({ outputError: () => {} });
  (await commandList[canonical[0]!]!.load()).defineCommand(command);
  for (const one of [command, ...command.commands]) one.exitOverride().action(() => {});
  await command.parseAsync(canonical.slice(1), { from: 'user' });
  if (command.commands.length === 0) checkCombinations(command);
  return command;
}

describe('every documented command', () => {
  const commands = ofKind('sh', 'sh run', 'bash', 'console').flatMap((block) =>
    commandsOf(block).flatMap((command) => {
      const args = argumentsOf(command);
      return args === undefined || args.includes('…') ? [] : [{ place: block.place, command, args }];
    }),
  );

  it('is found', () => expect(commands.length).toBeGreaterThan(60));

  it.each(commands)('$place: $command', async ({ args }) => {
    if (args.length > 0) await parse(args);
  });
});

describe('configurations', () => {
  const fields = configOptions().map(({ key }) => key);
  const isConfiguration = ({ code }: Block): boolean => /^(model|reward)|"(prompts|reward)"/m.test(code);

  it.each(ofKind('json', 'yaml').filter(isConfiguration))('$place is read by train', async ({ kind, code }) => {
    writeFileSync(join(folder, `config.${kind}`), code);
    const { places, warnings } = await applyConfigFile(
      await parse(['train', '--config', join(folder, `config.${kind}`)]),
      fields,
    );
    expect([...places.keys()].length).toBeGreaterThan(1);
    expect(warnings).toEqual([]);
  });
});

describe('in a folder with a run', () => {
  beforeAll(async () => {
    mkdirSync(join(folder, 'work'));
    process.chdir(join(folder, 'work'));
    const options = '--num-epochs 1 --sample-num-steps 2 --truncated-rand-backprop-minmax 0 2 --train-batch-size 1';
    const args = `train ${options} --train-gradient-accumulation-steps 1 --output-dir out --quiet`;
    expect(await run(args.split(' '))).toBe(0);
  });

  it.each(ofKind('js'))('the reward of $place passes the checks of the command', async ({ code }) => {
    writeFileSync('documented.mjs', code);
    expect(await run(['reward', 'check', 'documented.mjs']), printed.stdout).toBe(0);
  });

  const executed = ofKind('sh run').flatMap((block) =>
    commandsOf(block).map((command) => ({ place: block.place, command })),
  );
  it.each(executed)('$place: $command runs', async ({ command }) => {
    expect(await run(argumentsOf(command)!), printed.stderr).toBe(0);
  });
});
