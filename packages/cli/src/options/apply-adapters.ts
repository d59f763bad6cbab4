import { dispose } from '@tensorflow/tfjs-core';
import type { Params } from '@alignprop/autograd-ext';
import { excerpt, excerptList, record } from '@alignprop/autograd-ext/outside';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import {
  applyLora,
  fuseLora,
  loraModules,
  loraTensors,
  openLora,
  type LoraState,
  type OpenedAdapter,
} from '@alignprop/lora';
import { withDownloads } from '../terminal/downloads.js';
import { UsageError } from '../terminal/errors.js';
import type { Output } from '../terminal/output.js';
import type { LoraOptions } from './lora-options.js';

/**
 * Applies adapters to the parts of a pipeline that they are for, one upon the other, and adds the tokens whose
 * embeddings their files hold.
 * @param options.trainable makes the adapter's tensors variables, to go on training it
 * @throws UsageError if an adapter is for a part that the pipeline does not have
 */
export async function applyAdapters(
  pipeline: StableDiffusionPipeline,
  {
    lora = [],
    loraFile: file,
    loraScale,
    token,
    trainable = false,
  }: LoraOptions & { token?: string; trainable?: boolean },
  output: Output,
): Promise<StableDiffusionPipeline> {
  let adapted = pipeline;
  for (const { source, weight = loraScale } of lora) {
    const adapter = await withDownloads(output, (access) => openLora(source, { ...access, file, token }));
    adapted = await withEmbeddings(await applyAdapter(adapted, adapter, { scale: weight, trainable }), adapter, output);
  }
  return adapted;
}

interface ApplyOptions {
  readonly scale: number;
  readonly trainable: boolean;
}

async function applyAdapter(
  pipeline: StableDiffusionPipeline,
  { location, components }: OpenedAdapter,
  options: ApplyOptions,
): Promise<StableDiffusionPipeline> {
  const params: Readonly<Partial<Record<string, Params>>> = pipeline.params;
  const found = Object.keys(components);
  const foreign = found.filter((name) => !Object.hasOwn(params, name));
  if (foreign.length > 0 || found.length === 0)
    throw new UsageError(
      `--lora: ${location} adapts ${excerptList(foreign) || 'nothing'}, ` +
        `expected ${Object.keys(params).join(' or ')}. Give an adapter made for this model.`,
    );
  const adapted = record<Params>();
  for (const [name, state] of Object.entries(components))
    adapted[name] = await applyUpon(params[name]!, state, options);
  return pipeline.withParams(adapted);
}

/** Applies an adapter. One that the tree has already becomes part of its weights. */
async function applyUpon(params: Params, state: LoraState, options: ApplyOptions): Promise<Params> {
  return applyLora(await absorbed(params), state, options);
}

/** Makes the adapters of a tree part of its weights, and frees them. */
export async function absorbed(params: Params): Promise<Params> {
  if (Object.keys(loraModules(params)).length === 0) return params;
  const fused = await fuseLora(params);
  dispose(loraTensors(params));
  return fused;
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
      output.info(`Loading the embedding of '${excerpt(token)}' in ${location}`);
    } catch (error) {
      output.warn(`the embedding of '${excerpt(token)}' in ${location} is left out: ${(error as Error).message}`);
    }
  }
  return extended;
}
