import { Option, type Command } from 'commander';
import { ensureBackend, type Params } from '@alignprop/autograd-ext';
import { resolveSource, type HubAccess } from '@alignprop/autograd-ext/weights';
import { CLIPTextModel, UNet2DConditionModel } from '@alignprop/diffusion';
import {
  applyLora,
  loadLora,
  loraFormats,
  mixLora,
  mixModes,
  saveLora,
  type LoraFormat,
  type LoraState,
  type MixMode,
} from '@alignprop/lora';
import { embeddedModel } from '../embedded-model.js';
import { addModelOptions, type ModelOptions } from '../options/model-options.js';
import { parseNumber } from '../options/option-parsers.js';
import { withDownloads } from '../terminal/downloads.js';
import { addOutputOptions, Output, type OutputOptions } from '../terminal/output.js';

interface ExportOptions extends ModelOptions, OutputOptions {
  output: string;
  format: LoraFormat;
  mix?: string;
  mixCoefficient: number;
  mixMode: MixMode;
}

/** Adds the arguments, options and action of `alignprop export`. */
export function defineCommand(command: Command): void {
  addModelOptions(command.argument('<lora>', 'Adapter: a file in any of the formats below, or a folder with one.'));
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

async function exportLora(
  lora: string,
  { model = embeddedModel.path, revision, variant, output: path, format, ...options }: ExportOptions,
  access: HubAccess,
): Promise<void> {
  await ensureBackend();
  const state = (await loadMixed(lora, 'unet', options))!;
  const source = await resolveSource(model, { revision, ...access });
  const { params } = await UNet2DConditionModel.fromPretrained(source, { subfolder: 'unet', variant });
  const others: Record<string, Params> = {};
  const textState = await loadMixed(lora, 'text_encoder', options);
  if (textState) {
    const text = await CLIPTextModel.fromPretrained(source, { subfolder: 'text_encoder', variant });
    others.text_encoder = await applyLora(text.params, textState);
  }
  await saveLora(path, await applyLora(params, state), { format, others });
  new Output(options).result({ event: 'export', path, format }, path);
}

/**
 * Loads the part of an adapter, or of the mixture of two, that belongs to a component of the pipeline.
 * @param prefix the component: `unet` or `text_encoder`
 * @returns undefined if neither adapter has weights for the text encoder
 * @throws if an adapter has no weights for the UNet
 */
async function loadMixed(
  lora: string,
  prefix: string,
  { mix, mixCoefficient: coefficient, mixMode: mode }: Pick<ExportOptions, 'mix' | 'mixCoefficient' | 'mixMode'>,
): Promise<LoraState | undefined> {
  const load = async (file: string) => {
    const isMissing = prefix !== 'unet' && !(await loadLora(file)).components?.includes(prefix);
    return isMissing ? undefined : loadLora(file, { prefix });
  };
  const first = await load(lora);
  if (mix === undefined) return first;
  const second = mix === 'base' ? undefined : await load(mix);
  if (first) return mixLora(first, second, { coefficient, mode });
  return second && mixLora(second, undefined, { coefficient: 1 - coefficient, mode });
}
