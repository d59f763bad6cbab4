import { readJson, singleFileAdvice, type FileSource } from '@alignprop/autograd-ext/weights';
import { excerptList, table } from '@alignprop/autograd-ext/outside';
import { autoencoders, type AutoencoderClass } from '../models/autoencoder.js';

/** `model_index.json`: for each part of the pipeline its library and class, null for parts that it does without. */
export type ModelIndex = Readonly<Record<string, unknown>>;

/** The classes that each part may have; null for parts of other pipelines. */
type PartClasses = Readonly<Record<string, readonly string[] | null>>;

const tokenizers = ['CLIPTokenizer', 'CLIPTokenizerFast'];
const stableDiffusion: PartClasses = table({
  text_encoder: ['CLIPTextModel'],
  tokenizer: tokenizers,
  unet: ['UNet2DConditionModel'],
  vae: Object.keys(autoencoders),
  text_encoder_3: null, // Stable Diffusion 3
  transformer: null, // Stable Diffusion 3, Flux
  prior: null, // Stable Cascade, Kandinsky
});
const stableDiffusionXL: PartClasses = table({
  ...stableDiffusion,
  text_encoder_2: ['CLIPTextModelWithProjection'],
  tokenizer_2: tokenizers,
});

/** Whether a folder holds a model of the kind of SDXL, which has two text encoders. */
export const isXL = (index: ModelIndex): boolean => classOf(index, 'text_encoder_2') !== undefined;

/** The class of the VAE in a checked index. */
export const autoencoderOf = (index: ModelIndex): AutoencoderClass => classOf(index, 'vae') as AutoencoderClass;

/**
 * Reads `model_index.json` and checks that it describes a Stable Diffusion 1.x, 2.x or XL pipeline, so that other
 * pipelines (Stable Diffusion 3, a folder with a UNet alone) fail here and not at a missing weight. As in diffusers,
 * the class of the pipeline itself does not matter, and parts that text-to-image does not use (`safety_checker`,
 * `feature_extractor`, `image_encoder`, `controlnet`) are not looked at.
 * @throws if a part has another class (lists all such parts), or there is no `model_index.json` (says what the folder
 *   holds)
 */
export async function readModelIndex(source: FileSource): Promise<ModelIndex> {
  if (!(await source.has('model_index.json'))) throw new Error(await explainMissing(source));
  const index = await readJson<ModelIndex>(source, 'model_index.json');
  const problems = Object.entries(isXL(index) ? stableDiffusionXL : stableDiffusion).flatMap(([part, classes]) => {
    const name = classOf(index, part);
    if (classes === null ? name === undefined : classes.includes(name!)) return [];
    return [`${part} got ${name ?? 'nothing'}, expected ${classes?.join(' or ') ?? 'nothing'}`];
  });
  if (problems.length === 0) return index;
  const { _class_name: pipeline } = index;
  throw new Error(
    `StableDiffusionPipeline: ${source.location}/model_index.json${described(pipeline)}: ${problems.join('; ')}. ` +
      (otherFormat(index) ?? 'Only Stable Diffusion 1.x, 2.x and XL pipelines are supported.'),
  );
}

/** Says what to do about a pipeline whose parts are in the format of another framework. */
function otherFormat(index: ModelIndex): string | undefined {
  const classes = Object.keys(index).map((part) => classOf(index, part) ?? '');
  if (classes.some((name) => name.startsWith('Flax')))
    return "Its weights are Flax's: take the model's files for PyTorch, which most repositories have in revision main.";
  if (classes.some((name) => /^(Onnx|ORT)/.test(name)))
    return 'It was exported to ONNX: take the model that it was exported from.';
  return undefined;
}

/** Returns the class of a part; undefined where the index has none, or `[null, null]`. */
export function classOf(index: ModelIndex, part: string): string | undefined {
  const entry = index[part];
  const name: unknown = Array.isArray(entry) ? entry[1] : undefined;
  return typeof name === 'string' ? name : undefined;
}

const described = (name: unknown): string => (typeof name === 'string' ? ` (${name})` : '');

async function explainMissing(source: FileSource): Promise<string> {
  const problem = `StableDiffusionPipeline: '${source.location}' has no model_index.json`;
  const config = (await source.has('config.json')) ? await readJson(source, 'config.json') : undefined;
  const { _class_name: name, architectures } = (config ?? {}) as { _class_name?: unknown; architectures?: unknown[] };
  const model = name ?? architectures?.[0];
  if (typeof model === 'string')
    return `${problem}: it holds a ${model} alone, expected a whole pipeline. Pass the folder of the pipeline.`;
  const files = await source.list();
  if (files.some((file) => /^(pytorch_lora_weights|adapter_model)\./.test(file)))
    return (
      `${problem}: it holds an adapter, expected a pipeline. ` +
      'Pass the model that the adapter was trained for, and the adapter as an adapter.'
    );
  const checkpoint = files.find((file) => /\.(safetensors|ckpt)$/.test(file));
  return (
    `${problem}, expected a pipeline in diffusers' layout; there is ${excerptList(files) || 'no file'}. ` +
    (checkpoint === undefined
      ? 'Check the path and that the download is complete.'
      : singleFileAdvice(`${source.location}/${checkpoint}`))
  );
}
