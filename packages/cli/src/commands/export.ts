import { Option, type Command } from 'commander';
import { ensureBackend, type Params } from '@alignprop/autograd-ext';
import { resolveSource } from '@alignprop/autograd-ext/weights';
import { CLIPTextModel, UNet2DConditionModel } from '@alignprop/diffusion';
import { applyLora, loadLora, loraFormats, saveLora, type LoraFormat } from '@alignprop/lora';
import { embeddedModel } from '../embedded-model.js';
import { modelOptions, type ModelOptions } from '../load-pipeline.js';
import { Output, outputOptions, type OutputOptions } from '../output.js';

interface ExportOptions extends ModelOptions, OutputOptions {
  output: string;
  format: LoraFormat;
}

/** Gives `alignprop export` its options and what it does. */
export function defineExport(command: Command): void {
  modelOptions(command.argument('<lora>', 'The adapter: a file of any of these layouts, or a folder with one.'));
  outputOptions(command)
    .requiredOption('-o, --output <file>', 'The file to write; for peft a folder.')
    .addOption(new Option('--format <name>', 'kohya is for ComfyUI and A1111; diffusers-old is what training writes.').choices(loraFormats).default('kohya'))
    .addHelpText('after', '\nExample:\n  $ alignprop export out/pytorch_lora_weights.safetensors -o name.safetensors --model stable-diffusion-v1-5/stable-diffusion-v1-5')
    .action((lora: string, options: ExportOptions) => exportLora(lora, options));
}

async function exportLora(lora: string, { model = embeddedModel.path, revision, variant, output: path, format, ...options }: ExportOptions): Promise<void> {
  await ensureBackend();
  const state = await loadLora(lora);
  const source = await resolveSource(model, { revision });
  const { params } = await UNet2DConditionModel.fromPretrained(source, { subfolder: 'unet', variant });
  const others: Record<string, Params> = {};
  if (state.components?.includes('text_encoder')) {
    const text = await CLIPTextModel.fromPretrained(source, { subfolder: 'text_encoder', variant });
    others.text_encoder = await applyLora(text.params, await loadLora(lora, { prefix: 'text_encoder' }));
  }
  await saveLora(path, await applyLora(params, state), { format, others });
  new Output(options).result({ event: 'export', path, format }, path);
}
