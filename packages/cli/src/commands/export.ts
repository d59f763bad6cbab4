import { Option, type Command } from 'commander';
import { ensureBackend, type Params } from '@alignprop/autograd-ext';
import { resolveSource, type HubAccess } from '@alignprop/autograd-ext/weights';
import { CLIPTextModel, UNet2DConditionModel } from '@alignprop/diffusion';
import {
  applyLora,
  checkWritable,
  loraFormats,
  mixLora,
  mixModes,
  openLora,
  saveLora,
  type LoraFormat,
  type LoraState,
  type MixMode,
  type OpenedAdapter,
} from '@alignprop/lora';
import { embeddedModel } from '../embedded-model.js';
import { addModelOptions, type ModelOptions } from '../options/model-options.js';
import { parseNumber } from '../options/option-parsers.js';
import { withDownloads } from '../terminal/downloads.js';
import { addOutputOptions, Output, type OutputOptions } from '../terminal/output.js';

interface ExportOptions extends ModelOptions, OutputOptions {
  output: string;
  loraFile?: string;
  format: LoraFormat;
  mix?: string;
  mixCoefficient: number;
  mixMode: MixMode;
}

/** Adds the arguments, options and action of `alignprop export`. */
export function defineCommand(command: Command): void {
  command.argument('<lora>', 'Adapter: a file in any of the formats below, or a folder with one.');
  addModelOptions(command)
    .optionsGroup('Adapter:')
    .option('--lora-file <name>', 'Name of the file in a folder or repository with several.');
  addOutputOptions(command)
    .requiredOption('-o, --output <file>', 'File to write; with --format peft a folder.')
    .addOption(
      new Option('--format <name>', 'Format of the file. ComfyUI and A1111 read kohya; training writes diffusers-old.')
        .choices(loraFormats)
        .default('kohya'),
    )
    .optionsGroup('Mixing:')
    .option(
      '--mix <lora>',
      "Second adapter to mix in, such as one trained for another reward, or 'base' for the model without an adapter.",
    )
    .option('--mix-coefficient <n>', 'Share of the first adapter, from 0 to 1.', parseNumber, 0.5)
    .addOption(
      new Option(
        '--mix-mode <name>',
        "delta interpolates the weight changes B·A; factor interpolates A and B separately, as AlignProp's authors do.",
      )
        .choices(mixModes)
        .default('delta'),
    )
    .addHelpText('after', examples)
    .action((lora: string, options: ExportOptions) =>
      withDownloads(new Output(options), (access) => exportLora(lora, options, access)),
    );
}

const examples = `
Examples:
  $ alignprop export out/pytorch_lora_weights.safetensors -o name.safetensors \\
      --model stable-diffusion-v1-5/stable-diffusion-v1-5
  $ alignprop export aesthetic.safetensors --mix small.safetensors --mix-coefficient 0.7 -o both.safetensors`;

/** The models of a pipeline that adapters change, by the name of their part. */
const models = { unet: UNet2DConditionModel, text_encoder: CLIPTextModel } as const;
type Part = keyof typeof models;

async function exportLora(lora: string, options: ExportOptions, access: HubAccess): Promise<void> {
  const { model = embeddedModel.path, revision, variant, output: path, format, mix, loraFile: file } = options;
  const output = new Output(options);
  if (options.model === undefined)
    output.info(
      `Taking ${embeddedModel.name}, the embedded model, for the one that the adapter was trained on. ` +
        'Give --model if it was another.',
    );
  await ensureBackend();
  const first = await openLora(lora, { ...access, file });
  const second = mix === undefined || mix === 'base' ? undefined : await openLora(mix, { ...access, file });
  for (const file of [first, second]) if (file) remarkEmbeddings(file, output);
  const states = partsOf(first, second).map((part) => [part, exportedState(part, first, second, options)] as const);
  for (const [, state] of states) checkWritable(state);
  const source = await resolveSource(model, { revision, ...access });
  const trees: [Part, Params][] = [];
  for (const [part, state] of states) {
    const { params } = await models[part].fromPretrained(source, { subfolder: part, variant });
    trees.push([part, await applyLora(params, state)]);
  }
  const [[prefix, params], ...others] = trees as [[Part, Params], ...[Part, Params][]];
  await saveLora(path, params, { format, prefix, others: Object.fromEntries(others) });
  output.result({ event: 'export', path, format }, path);
}

/** Says which embeddings of a file are not written. */
function remarkEmbeddings({ location, embeddings }: OpenedAdapter, output: Output): void {
  const tokens = Object.keys(embeddings);
  if (tokens.length > 0)
    output.warn(
      `the embeddings bundled in ${location} are not written: ${tokens.join(', ')}. ` +
        'Keep that file to use their tokens.',
    );
}

/** Returns the parts of a pipeline that the adapters change. @throws if Stable Diffusion 1 and 2 lack one of them */
function partsOf(...files: readonly (OpenedAdapter | undefined)[]): Part[] {
  const found = new Set(files.flatMap((file) => Object.keys(file?.components ?? {})));
  const unknown = [...found].filter((part) => !Object.hasOwn(models, part));
  if (unknown.length > 0)
    throw new Error(
      `export: the adapter changes ${unknown.join(', ')}, expected ${Object.keys(models).join(' or ')}. ` +
        'Use an adapter for Stable Diffusion 1.x or 2.x.',
    );
  return (Object.keys(models) as Part[]).filter((part) => found.has(part));
}

/** Returns what is written for a part: the first adapter, or its mixture with the second or with the model. */
function exportedState(
  part: Part,
  { components: { [part]: first } }: OpenedAdapter,
  second: OpenedAdapter | undefined,
  { mix, mixCoefficient: coefficient, mixMode: mode }: ExportOptions,
): LoraState {
  if (mix === undefined) return first!;
  const other = second?.components[part];
  return first
    ? mixLora(first, other, { coefficient, mode })
    : mixLora(other!, undefined, { coefficient: 1 - coefficient, mode });
}
