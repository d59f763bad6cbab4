import { Help, type Command, type HelpConfiguration, type Option } from 'commander';
import { table } from '@alignprop/autograd-ext/outside';
import { ownCommand } from '../terminal/program-command.js';

const output = {
  json: 'Results as JSON, one object a line',
  quiet: 'No progress, no messages',
  help: 'This help; all options: --help-all',
};

/**
 * The options that `--help` lists, by command, in kebab case, each described in a line; `--help-all` lists all.
 * Commands that are not listed here have so few options that `--help` lists all, too.
 */
export const mostUsedOptions = table<Readonly<Record<string, string>>>({
  train: {
    model: 'Folder or hub id',
    device: 'cpu, webgpu, cuda, tensorrt, coreml, dml',
    reward: 'Reward to maximise, listed or your file',
    algorithm: 'Or ddpo: needs no gradient',
    prompts: 'Training prompts: .txt, .csv, .jsonl, …',
    'eval-prompts': 'Held-out prompts to evaluate',
    config: 'JSON or YAML file with these options',
    'dry-run': 'Only print plan, files and memory',
    seed: 'Random seed',
    'output-dir': 'Folder of the run',
    'num-epochs': 'Epochs to train in all',
    'save-freq': 'Epochs between checkpoints',
    'resume-from': 'Run or checkpoint to resume from',
    'mixed-precision': 'no, or fp16 on a GPU',
    'sample-num-steps': 'Denoising steps, also --steps',
    'sample-guidance-scale': 'Guidance, also --guidance-scale',
    height: 'Height in pixels',
    width: 'Width in pixels',
    'train-batch-size': 'Images at once',
    'train-learning-rate': 'Learning rate',
    'truncated-rand-backprop-minmax': 'Range of truncation',
    'eval-freq': 'Epochs between evaluations',
    'lora-rank': 'Rank of the adapter',
    ...output,
  },
  resume: {
    force: 'Refused option that may change',
    'dry-run': 'Only print plan, files and memory',
    'output-dir': 'Folder of the run',
    'num-epochs': 'Epochs to train in all',
    'save-freq': 'Epochs between checkpoints',
    'train-learning-rate': 'Learning rate',
    ...output,
  },
  generate: {
    prompts: 'File of prompts: .txt, .csv, .jsonl, …',
    model: 'Folder or hub id',
    embedding: 'Textual inversion',
    device: 'cpu, webgpu, cuda, tensorrt, coreml, dml',
    'mixed-precision': 'no, or fp16 on a GPU',
    lora: 'Adapter; several are added',
    'lora-scale': 'Strength of the adapters',
    seed: 'Seed of the noise',
    steps: 'Denoising steps',
    'guidance-scale': 'Classifier-free guidance',
    'negative-prompt': 'Negative prompt',
    'num-images': 'Images per prompt',
    height: 'Height in pixels',
    width: 'Width in pixels',
    scheduler: 'Sampler, of diffusers or A1111',
    output: 'PNG file to write',
    ...output,
  },
});

/** Whether `--help` lists an option of a command. */
export const isMostUsed = (command: string, option: string): boolean =>
  !Object.hasOwn(mostUsedOptions, command) || Object.hasOwn(mostUsedOptions[command]!, option);

/**
 * The help of a command.
 * @param all lists all options with their whole descriptions, as `--help-all` does, else only `mostUsedOptions`
 */
export const helpConfiguration = (command: string, all: boolean): HelpConfiguration => ({
  showGlobalOptions: all || !Object.hasOwn(mostUsedOptions, command),
  minWidthToWrap: 20,
  padWidth(shown, helper) {
    return Math.min(widestTerm, Help.prototype.padWidth.call(this as Help, shown, helper));
  },
  formatItem(term, termWidth, description, helper) {
    const format = (name: string) => Help.prototype.formatItem.call(this as Help, name, termWidth, description, helper);
    return helper.displayWidth(term) > termWidth ? `  ${term}\n${format('')}` : format(term);
  },
  ...(!all &&
    Object.hasOwn(mostUsedOptions, command) && {
      visibleOptions(shown) {
        const options = Help.prototype.visibleOptions.call(this as Help, shown);
        return options.filter((option) => isMostUsed(shown.name(), option.name()));
      },
      optionDescription: (option) => withDefault(mostUsedOptions[command]![option.name()]!, option),
    }),
});

/** The widest column of flags, in characters; the description of a longer flag stands below it. */
const widestTerm = 34;

/** Adds a text below the help of a command that only `--help-all` prints. */
export const addMoreHelp = (command: Command, text: string): Command =>
  command.addHelpText('after', () => (command.configureHelp().showGlobalOptions ? text : ''));

/** Points from the help of a command to the rest of its options; '' where there is no rest. */
export const helpPointer = (command: Command): string =>
  command.configureHelp().showGlobalOptions
    ? ''
    : `\nAll options, explained: ${ownCommand(command.name(), '--help-all')}`;

/** Adds the default of an option to its description, unless it is none, false or the command's choice. */
function withDefault(text: string, { defaultValue, defaultValueDescription, required }: Option): string {
  const isShown = required && ![undefined, null, '', false].includes(defaultValue as never);
  const shown = defaultValueDescription ?? String(defaultValue);
  const isNamed = required && defaultValueDescription !== undefined && shown !== 'none';
  return isShown || isNamed ? `${text} (${shown})` : text;
}
