import type { Tensor, Variable } from '@tensorflow/tfjs-core';
import { trainable, type StoredTensor } from '@alignprop/autograd-ext';
import { directory, openWeights, subfolder } from '@alignprop/autograd-ext/weights';
import { saveModel, type StableDiffusionPipeline, type UNet2DConditionModel } from '@alignprop/diffusion';
import { loadLora, loraModules, saveLora, stateTensors } from '@alignprop/lora';

/** The trained weights of a pipeline and their files. */
export interface TrainedWeights {
  /** The variables by parameter path; paths of text encoders begin with `text_encoder.` or `text_encoder_2.`. */
  readonly variables: Readonly<Record<string, Variable>>;
  /** Writes the weights for a checkpoint. @returns the names of the files within the folder */
  save(folder: string): Promise<readonly string[]>;
  /** Opens the files that `save` wrote: values by parameter path. */
  open(folder: string): Promise<Readonly<Record<string, Tensor | StoredTensor>>>;
  /** Writes the weights in a layout that other programs load. @returns the path of the file or folder */
  export(folder: string): Promise<string>;
}

/** The weights that a prepared pipeline trains: its adapters, or the whole UNet. */
export const trainedWeights = (pipeline: StableDiffusionPipeline, useLora: boolean): TrainedWeights =>
  useLora ? adapterWeights(pipeline) : unetWeights(pipeline.unet);

/** The file of the trained adapter, as TRL names it. */
export const adapterFile = 'pytorch_lora_weights.safetensors';

/** The adapters of the UNet and of the text encoders that have one, in one file with diffusers' keys. */
function adapterWeights({ params: { unet, ...texts } }: StableDiffusionPipeline): TrainedWeights {
  const trained = Object.entries(texts).filter(([, params]) => Object.keys(trainable(params)).length > 0);
  const hasText = trained.length > 0;
  const parts = hasText ? { others: Object.fromEntries(trained) } : {};
  const adapters = Object.values(loraModules(unet));
  const hasDora = adapters.some(({ dora }) => dora);
  // TRL's layout holds neither DoRA nor an α other than the rank, and programs differ in how it spells text encoders.
  const isPlain = !hasText && !hasDora && adapters.every(({ scale }) => scale === 1);
  const variables = { ...trainable(unet) };
  for (const [name, params] of trained) Object.assign(variables, prefixed(name, trainable(params)));
  return {
    variables,
    async save(folder) {
      await saveLora(`${folder}/${adapterFile}`, unet, { format: isPlain ? 'diffusers-old' : 'diffusers', ...parts });
      return [adapterFile];
    },
    async open(folder) {
      const load = async (prefix: string) => stateTensors(await loadLora(`${folder}/${adapterFile}`, { prefix }));
      const stored = await load('unet');
      for (const [name] of trained) Object.assign(stored, prefixed(name, await load(name)));
      checkKind(stored, variables);
      return stored;
    },
    async export(folder) {
      await saveLora(`${folder}/${adapterFile}`, unet, {
        format: hasText || hasDora ? 'diffusers' : 'diffusers-old',
        ...parts,
      });
      return `${folder}/${adapterFile}`;
    },
  };
}

/** @throws if one adapter is DoRA and the other LoRA */
function checkKind(stored: Readonly<Record<string, unknown>>, trained: Readonly<Record<string, unknown>>): void {
  const [found, expected] = [stored, trained].map((paths) =>
    Object.keys(paths).some((path) => path.endsWith('.lora_magnitude_vector')) ? 'dora' : 'lora',
  );
  if (found !== expected)
    throw new Error(`its adapter is of another kind: lora_kind got '${expected}', expected '${found}'`);
}

/** Prefixes paths of a text encoder's weights, for a record with those of the UNet. */
export const prefixed = <T>(name: string, weights: Readonly<Record<string, T>>): Record<string, T> =>
  Object.fromEntries(Object.entries(weights).map(([path, value]) => [`${name}.${path}`, value]));

/** All weights of the UNet, as the folder `unet` of a diffusers pipeline. */
function unetWeights(unet: UNet2DConditionModel): TrainedWeights {
  const variables = trainable(unet.params);
  const save = (folder: string) => saveModel(`${folder}/unet`, 'UNet2DConditionModel', unet);
  return {
    variables,
    save: async (folder) => (await save(folder)).map((file) => `unet/${file}`),
    async open(folder) {
      const weights = await openWeights(subfolder(directory(folder), 'unet'), 'diffusion_pytorch_model');
      return Object.fromEntries([...weights].filter(([path]) => Object.hasOwn(variables, path)));
    },
    async export(folder) {
      await save(folder);
      return `${folder}/unet`;
    },
  };
}
