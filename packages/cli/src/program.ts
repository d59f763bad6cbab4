import { readFileSync } from 'node:fs';
import { isatty } from 'node:tty';
import { Command, CommanderError } from 'commander';
import colors from 'picocolors';
import { errorMessage, exitCode, Interrupted, isDebugging, ReportedElsewhere } from './terminal/errors.js';
import { canonicalFlags } from './options/flags.js';

/** The commands. What they need is loaded when one is used, so that help and version come at once. */
const commands: Readonly<Record<string, { summary: string; define: () => Promise<(command: Command) => void> }>> = {
  train: {
    summary: 'fine-tune a LoRA adapter with a differentiable reward',
    define: async () => (await import('./commands/train.js')).defineTrain,
  },
  generate: {
    summary: 'draw images from prompts',
    define: async () => (await import('./commands/generate.js')).defineGenerate,
  },
  score: { summary: 'score images by rewards', define: async () => (await import('./commands/score.js')).defineScore },
  export: {
    summary: 'write an adapter in the layout of another program',
    define: async () => (await import('./commands/export.js')).defineExport,
  },
  demo: {
    summary: 'train the embedded model for two minutes and compare before and after',
    define: async () => (await import('./commands/demo.js')).defineDemo,
  },
};

/**
 * Runs a command line.
 * @param args without node and the script
 * @returns the exit code: 0 done, 1 failed, 2 wrong usage, 130 and 143 stopped by Ctrl-C and SIGTERM
 */
export async function run(args: readonly string[]): Promise<number> {
  const program = createProgram();
  try {
    await program.parseAsync(withoutHelpCommand(canonicalFlags(args)), { from: 'user' });
    return 0;
  } catch (error) {
    if (![CommanderError, Interrupted, ReportedElsewhere].some((silent) => error instanceof silent))
      report(error, program);
    return exitCode(error);
  }
}

/** Commander answers `help train` before it knows the options of train; `train --help` is the same with them. */
const withoutHelpCommand = (args: readonly string[]): readonly string[] =>
  args[0] === 'help' && args[1] !== undefined && args[1] in commands ? [args[1], '--help'] : args;

function createProgram(): Command {
  const program = new Command('alignprop')
    .description('Fine-tune Stable Diffusion with differentiable rewards, on any machine that runs Node.')
    .version(version(), '-V, --version', 'Print the version.')
    .helpOption('-h, --help', 'Print this help.')
    .helpCommand('help [command]', 'print the help of a command')
    .option('--debug', 'Print errors with their stack; so does DEBUG=1.')
    .showSuggestionAfterError()
    .showHelpAfterError('(add --help for the options)')
    .configureHelp({ showGlobalOptions: true, minWidthToWrap: 20, styleTitle: (text) => colors.bold(text) })
    .exitOverride()
    .addHelpText('after', footer);
  for (const [name, { summary }] of Object.entries(commands))
    program.command(name).description(sentence(summary)).summary(summary);
  return program.hook('preSubcommand', async (_, command) => (await commands[command.name()]?.define())?.(command));
}

const sentence = (text: string): string => `${text[0]!.toUpperCase()}${text.slice(1)}.`;

const footer = `
Examples:
  $ alignprop demo
  $ alignprop train --num-epochs 20 --output-dir out
  $ alignprop generate "crab" --lora out/pytorch_lora_weights.safetensors -o crab.png --seed 7
  $ alignprop score crab.png --reward jpeg-compressibility

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C, 143 by SIGTERM.`;

function version(): string {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  return version;
}

function report(error: unknown, program: Command): void {
  const message = errorMessage(error, isDebugging(program.opts()));
  process.stderr.write(
    `${colors.createColors(colors.isColorSupported && isatty(process.stderr.fd)).red('error:')} ${message}\n`,
  );
}
