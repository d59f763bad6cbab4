import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { applyLora, openLora, type OpenedAdapter } from '@alignprop/lora';
import { withDownloads } from '../terminal/downloads.js';
import { UsageError } from '../terminal/errors.js';
import type { Output } from '../terminal/output.js';

/**
 * Applies an adapter to the parts of a pipeline that it is for, and adds the tokens whose embeddings its file holds.
 * @param source a file, a folder, a hub id or `org/name/file`
 * @throws UsageError if the adapter is for a part that the pipeline does not have
 */
export async function applyAdapter(
  pipeline: StableDiffusionPipeline,
  source: string,
  { scale, output }: { scale: number; output: Output },
): Promise<StableDiffusionPipeline> {
  const adapter = await withDownloads(output, (access) => openLora(source, access));
  const { unet, text_encoder: text, ...others } = adapter.components;
  const foreign = Object.keys(others);
  if (foreign.length > 0 || (!unet && !text))
    throw new UsageError(
      `--lora: ${adapter.location} adapts ${foreign.join(', ') || 'nothing'}, expected unet or text_encoder. ` +
        'Give an adapter made for this model.',
    );
  const { unet: model, textEncoder } = pipeline;
  const adapted = pipeline.with({
    ...(unet && { unet: model.withParams(await applyLora(model.params, unet, { scale })) }),
    ...(text && { textEncoder: textEncoder.withParams(await applyLora(textEncoder.params, text, { scale })) }),
  });
  return withEmbeddings(adapted, adapter, output);
}

/** Adds the embeddings of new tokens. One that does not fit is left out, with a warning: the adapter may still do. */
async function withEmbeddings(
  pipeline: StableDiffusionPipeline,
  { embeddings, location }: OpenedAdapter,
  output: Output,
): Promise<StableDiffusionPipeline> {
  let extended = pipeline;
  for (const [token, { text_encoder: vectors }] of Object.entries(embeddings)) {
    try {
      if (!vectors) throw new Error('it is for another text encoder.');
      const onWarning = (message: string) => output.warn(message);
      extended = await extended.loadTextualInversion({ [token]: vectors }, { onWarning });
      output.info(`Loading the embedding of '${token}' in ${location}`);
    } catch (error) {
      output.warn(`the embedding of '${token}' in ${location} is left out: ${(error as Error).message}`);
    }
  }
  return extended;
}
