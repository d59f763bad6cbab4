import { isatty } from 'node:tty';
import { Command, CommanderError } from 'commander';
import colors from 'picocolors';
import { commandList } from './commands/command-list.js';
import { canonicalFlags } from './options/flags.js';
import { errorMessage, exitCode, Interrupted, isDebugging, ReportedElsewhere } from './terminal/errors.js';
import { programVersion } from './version.js';

/**
 * Runs a command line, and prints its error if it fails.
 * @param args the arguments without node and the script
 * @returns the exit code; see `footer`
 */
export async function run(args: readonly string[]): Promise<number> {
  const program = createProgram();
  try {
    await program.parseAsync(withoutHelpCommand(canonicalFlags(args)), { from: 'user' });
    return 0;
  } catch (error) {
    const isReported = [CommanderError, Interrupted, ReportedElsewhere].some((type) => error instanceof type);
    if (!isReported) report(error, program);
    return exitCode(error);
  }
}

/** Turns `help train` into `train --help`: commander's own help command runs before the module of `train` is loaded. */
const withoutHelpCommand = (args: readonly string[]): readonly string[] =>
  args[0] === 'help' && args[1] !== undefined && args[1] in commandList ? [args[1], '--help'] : args;

function createProgram(): Command {
  const program = new Command('alignprop')
    .description('Fine-tune Stable Diffusion with differentiable rewards, on any machine that runs Node.')
    .version(programVersion(), '-V, --version', 'Print the version.')
    .helpOption('-h, --help', 'Print this help.')
    .helpCommand('help [command]', 'print the help of a command')
    .option('--debug', 'Print errors with their stack traces; so does DEBUG=1.')
    .showSuggestionAfterError()
    .showHelpAfterError('(add --help for the options)')
    .configureHelp({ showGlobalOptions: true, minWidthToWrap: 20, styleTitle: (text) => colors.bold(text) })
    .exitOverride()
    .addHelpText('after', footer);
  for (const [name, { summary }] of Object.entries(commandList))
    program.command(name).description(sentence(summary)).summary(summary);
  return program.hook('preSubcommand', async (_, command) =>
    (await commandList[command.name()]?.load())?.defineCommand(command),
  );
}

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

function report(error: unknown, program: Command): void {
  const { red } = colors.createColors(colors.isColorSupported && isatty(process.stderr.fd));
  process.stderr.write(`${red('error:')} ${errorMessage(error, isDebugging(program.opts()))}\n`);
}
