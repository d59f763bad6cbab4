import { excerptList } from '@alignprop/autograd-ext/outside';
import { Option, type Command } from 'commander';
import { ensureBackend, TfjsEngine, type Params } from '@alignprop/autograd-ext';
import { isWeightFile, resolveSource, type HubAccess } from '@alignprop/autograd-ext/weights';
import { CLIPTextModel, CLIPTextModelWithProjection, UNet2DConditionModel, type ModelName } from '@alignprop/diffusion';
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
import { addModelOptions, openPipeline, type ModelOptions } from '../options/model-options.js';
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

/** The classes of the models that adapters change, by the name of their part of the pipeline. */
const models = {
  unet: UNet2DConditionModel,
  text_encoder: CLIPTextModel,
  text_encoder_2: CLIPTextModelWithProjection,
} as const satisfies Record<ModelName, unknown>;

async function exportLora(lora: string, options: ExportOptions, access: HubAccess): Promise<void> {
  const { output: path, format, mix, loraFile: file } = options;
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
  const openModel = modelOpener(options, access);
  const trees: [ModelName, Params][] = [];
  for (const [part, state] of states) trees.push([part, await applyLora(await openModel(part), state)]);
  const [[prefix, params], ...others] = trees as [[ModelName, Params], ...[ModelName, Params][]];
  await saveLora(path, params, { format, prefix, others: Object.fromEntries(others) });
  output.result({ event: 'export', path, format }, path);
}

/** Returns a function that opens a part of the model: of a folder or repository no other files than its own. */
function modelOpener(
  { model = embeddedModel.path, revision, variant, ...reading }: ExportOptions,
  access: HubAccess,
): (part: ModelName) => Promise<Params> {
  const missing = (part: ModelName) =>
    new Error(
      `export: the adapter changes ${part}, which '${model}' does not have. Give the --model that it was made for.`,
    );
  if (isWeightFile(model)) {
    const opening = openPipeline(model, { variant, ...reading }, { revision, ...access, engine: new TfjsEngine() });
    return async (part) => {
      const { [part]: params } = (await opening).params;
      if (params) return params;
      throw missing(part);
    };
  }
  const resolving = resolveSource(model, { revision, ...access });
  return async (part) => {
    const source = await resolving;
    if (!(await source.has(`${part}/config.json`))) throw missing(part);
    return (await models[part].fromPretrained(source, { subfolder: part, variant })).params;
  };
}

/** Says which embeddings of a file are not written. */
function remarkEmbeddings({ location, embeddings }: OpenedAdapter, output: Output): void {
  const tokens = Object.keys(embeddings);
  if (tokens.length > 0)
    output.warn(
      `the embeddings bundled in ${location} are not written: ${excerptList(tokens)}. ` +
        'Keep that file to use their tokens.',
    );
}

/** Returns the parts of a pipeline that the adapters change. @throws if Stable Diffusion has no such part */
function partsOf(...files: readonly (OpenedAdapter | undefined)[]): ModelName[] {
  const found = new Set(files.flatMap((file) => Object.keys(file?.components ?? {})));
  const unknown = [...found].filter((part) => !Object.hasOwn(models, part));
  if (unknown.length > 0)
    throw new Error(
      `export: the adapter changes ${excerptList(unknown)}, expected ${Object.keys(models).join(' or ')}. ` +
        'Use an adapter for Stable Diffusion 1.x, 2.x or XL.',
    );
  return (Object.keys(models) as ModelName[]).filter((part) => found.has(part));
}

/** Returns what is written for a part: the first adapter, or its mixture with the second or with the model. */
function exportedState(
  part: ModelName,
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
