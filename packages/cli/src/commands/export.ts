import { Option, type Command } from 'commander';
import { ensureBackend, type Params } from '@alignprop/autograd-ext';
import { resolveSource } from '@alignprop/autograd-ext/weights';
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
import { parseNumber } from '../options/config-options.js';
import { embeddedModel } from '../embedded-model.js';
import { modelOptions, type ModelOptions } from '../options/load-pipeline.js';
import { Output, outputOptions, type OutputOptions } from '../terminal/output.js';

interface ExportOptions extends ModelOptions, OutputOptions {
  output: string;
  format: LoraFormat;
  mix?: string;
  mixCoefficient: number;
  mixMode: MixMode;
}

/** Gives `alignprop export` its options and what it does. */
export function defineExport(command: Command): void {
  modelOptions(command.argument('<lora>', 'The adapter: a file of any of these layouts, or a folder with one.'));
  outputOptions(command)
    .requiredOption('-o, --output <file>', 'The file to write; for peft a folder.')
    .addOption(
      new Option('--format <name>', 'kohya is for ComfyUI and A1111; diffusers-old is what training writes.')
        .choices(loraFormats)
        .default('kohya'),
    )
    .optionsGroup('Mixing:')
    .option(
      '--mix <lora>',
      "Another adapter to mix it with, for instance another reward's; 'base' is the model without one.",
    )
    .option('--mix-coefficient <n>', 'Share of the first adapter, from 0 to 1.', parseNumber, 0.5)
    .addOption(
      new Option(
        '--mix-mode <name>',
        "delta mixes what they add to the weights, factor A and B each on its own, as AlignProp's authors do.",
      )
        .choices(mixModes)
        .default('delta'),
    )
    .addHelpText(
      'after',
      '\nExample:\n  $ alignprop export out/pytorch_lora_weights.safetensors -o name.safetensors --model stable-diffusion-v1-5/stable-diffusion-v1-5\n  $ alignprop export aesthetic.safetensors --mix small.safetensors --mix-coefficient 0.7 -o both.safetensors',
    )
    .action((lora: string, options: ExportOptions) => exportLora(lora, options));
}

async function exportLora(
  lora: string,
  { model = embeddedModel.path, revision, variant, output: path, format, ...options }: ExportOptions,
): Promise<void> {
  await ensureBackend();
  const state = (await loadMixed(lora, 'unet', options))!;
  const source = await resolveSource(model, { revision });
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

/** What the file, or the mixture, has for a part of the pipeline; of the UNet it must have something. */
async function loadMixed(
  lora: string,
  prefix: string,
  { mix, mixCoefficient: coefficient, mixMode: mode }: Pick<ExportOptions, 'mix' | 'mixCoefficient' | 'mixMode'>,
): Promise<LoraState | undefined> {
  const load = async (file: string) => {
    if (prefix !== 'unet' && !(await loadLora(file)).components?.includes(prefix)) return undefined;
    return loadLora(file, { prefix });
  };
  const first = await load(lora);
  if (mix === undefined) return first;
  const second = mix === 'base' ? undefined : await load(mix);
  if (first) return mixLora(first, second, { coefficient, mode });
  return second && mixLora(second, undefined, { coefficient: 1 - coefficient, mode });
}
