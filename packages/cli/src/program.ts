import { isatty } from 'node:tty';
import { Command, CommanderError, type HelpConfiguration } from 'commander';
import colors from 'picocolors';
import { commandList } from './commands/command-list.js';
import { checkCombinations } from './options/combinations.js';
import { asTyped, canonicalFlags, type CanonicalFlags } from './options/flags.js';
import { helpConfiguration, helpPointer } from './options/help.js';
import { usageMessage } from './options/usage-message.js';
import {
  errorMessage,
  exitCode,
  Interrupted,
  isDebugging,
  printableLines,
  ReportedElsewhere,
} from './terminal/errors.js';
import { fitted } from './terminal/wrap.js';
import { programVersion } from './version.js';

/**
 * Runs a command line, and prints its error if it fails.
 * @param args the arguments without node and the script
 * @returns the exit code; see `footer`
 */
export async function run(args: readonly string[]): Promise<number> {
  const flags = canonicalFlags(args);
  const all = flags.args.slice(0, valuesFrom(flags.args)).includes(helpAll);
  const program = createProgram(all);
  const readable = flags.args.map((arg) => (all && arg === helpAll ? '--help' : arg));
  try {
    await program.parseAsync(withoutHelpCommand(readable), { from: 'user' });
    return 0;
  } catch (error) {
    if (!isReported(error)) report(error, program, flags);
    return exitCode(error);
  }
}

const helpAll = '--help-all';

/** The index from which all arguments are values. */
const valuesFrom = (args: readonly string[]): number => (args.includes('--') ? args.indexOf('--') : args.length);

/** Whether an error is no error, such as requested help, or was reported where it occurred. */
const isReported = (error: unknown): boolean =>
  error instanceof CommanderError
    ? /^commander\.(help|version)/.test(error.code)
    : [Interrupted, ReportedElsewhere].some((type) => error instanceof type);

/** Turns `help train` into `train --help`: commander's own help command runs before the module of `train` is loaded. */
const withoutHelpCommand = (args: readonly string[]): readonly string[] =>
  args[0] === 'help' && args[1] !== undefined && Object.hasOwn(commandList, args[1]) ? [args[1], '--help'] : args;

/** @param all whether the help lists all options */
function createProgram(all: boolean): Command {
  const program = new Command('alignprop')
    .description('Fine-tune Stable Diffusion with differentiable rewards, on any machine that runs Node.')
    .version(programVersion(), '-V, --version', 'Print the version.')
    .helpOption('-h, --help', 'Print this help, or with --help-all all options.')
    .helpCommand('help [command]', 'print the help of a command')
    .option('--debug', 'Print errors with their stack traces; so does DEBUG=1.')
    .showSuggestionAfterError(false)
    .configureOutput({ outputError: () => {} }) // `report` prints errors
    .configureHelp(styled(helpConfiguration('alignprop', all)))
    .exitOverride()
    .addHelpText('afterAll', ({ command }) => helpPointer(command))
    .addHelpText('after', footer);
  for (const [name, { summary }] of Object.entries(commandList))
    program
      .command(name)
      .description(sentence(summary))
      .summary(summary)
      .configureHelp(styled(helpConfiguration(name, all)));
  program.hook('preAction', (_, command) => {
    if (!readsConfigFile(command)) checkCombinations(command);
  });
  return program.hook('preSubcommand', async (_, command) =>
    (await commandList[command.name()]?.load())?.defineCommand(command),
  );
}

/** Whether a command merges its flags with a file, and checks their combinations itself. */
const readsConfigFile = (command: Command): boolean => command.options.some((option) => option.name() === 'config');

const styled = (help: HelpConfiguration): HelpConfiguration => ({ ...help, styleTitle: (text) => colors.bold(text) });

const sentence = (text: string): string => `${text[0]!.toUpperCase()}${text.slice(1)}.`;

const footer = `
Examples:
  $ alignprop demo
  $ alignprop train --num-epochs 20 --output-dir out
  $ alignprop resume out --num-epochs 40
  $ alignprop generate "crab" --lora out/pytorch_lora_weights.safetensors -o crab.png --seed 7
  $ alignprop score crab.png --reward jpeg-compressibility

Exit codes: 0 success, 1 failure, 2 wrong usage, 129 stopped by a closed terminal (SIGHUP), 130 by Ctrl-C (SIGINT),
141 by a closed pipe, 143 by SIGTERM.`;

/** Prints an error in a line, which names flags as they were typed. */
function report(error: unknown, program: Command, { args, typed }: CanonicalFlags): void {
  const { red } = colors.createColors(colors.isColorSupported && isatty(process.stderr.fd));
  const message =
    error instanceof CommanderError
      ? printableLines(usageMessage(error, program, args))
      : errorMessage(error, isDebugging(program.opts()));
  const lines = fitted(`error: ${asTyped(message, typed)}`);
  process.stderr.write(`${lines.replace('error:', red('error:'))}\n`);
}
