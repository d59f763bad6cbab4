import type { Params } from '@alignprop/autograd-ext';
import type { StableDiffusionParts } from './load-parts.js';

/** The parts of a pipeline that adapters can change, by the name of their folder in diffusers' layout. */
const parts = { unet: 'unet', text_encoder: 'textEncoder', text_encoder_2: 'textEncoder2' } as const;

/** The name of a model that adapters can change. */
export type ModelName = keyof typeof parts;

/** Weights of a pipeline's models; `text_encoder_2` only for SDXL. */
export type ModelParams = Readonly<Partial<Record<ModelName, Params>>>;

type Models = Pick<StableDiffusionParts, (typeof parts)[ModelName]>;

/** The weights of the models that a pipeline has, UNet first. */
export function modelParams(pipeline: Models): ModelParams & Readonly<Record<'unet' | 'text_encoder', Params>> {
  const { unet, textEncoder, textEncoder2 } = pipeline;
  return {
    unet: unet.params,
    text_encoder: textEncoder.params,
    ...(textEncoder2 && { text_encoder_2: textEncoder2.params }),
  };
}

/** The models of a pipeline whose weights are given, with these. @throws if the pipeline does not have one */
export function withModelParams(pipeline: Models, params: ModelParams): Partial<Models> {
  const changed = Object.entries(params).map(([name, tree]) => {
    const model = Object.hasOwn(parts, name) ? pipeline[parts[name as ModelName]] : undefined;
    if (model) return [parts[name as ModelName], model.withParams(tree)];
    const expected = Object.keys(modelParams(pipeline)).join(' or ');
    throw new Error(
      `StableDiffusionPipeline.withParams: got weights of ${name}, expected ${expected}. Leave them out.`,
    );
  });
  return Object.fromEntries(changed) as Partial<Models>;
}
