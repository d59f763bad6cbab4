import { readJson, type FileSource } from '@alignprop/autograd-ext/weights';

const expectedClasses = {
  text_encoder: 'CLIPTextModel',
  tokenizer: 'CLIPTokenizer',
  unet: 'UNet2DConditionModel',
  vae: 'AutoencoderKL',
} as const;

/**
 * Checks that `model_index.json` describes a Stable Diffusion 1.x or 2.x pipeline, so that other pipelines (SDXL, a
 * folder with a UNet alone) fail here and not at a missing weight.
 * @throws if a part has another class; lists all such parts
 */
export async function checkModelIndex(source: FileSource): Promise<void> {
  const index = (await readJson(source, 'model_index.json')) as Record<string, readonly [string, string] | string>;
  const wrong = Object.entries(expectedClasses).filter(([part, name]) => index[part]?.[1] !== name);
  if (wrong.length === 0) return;
  const list = wrong.map(([part, name]) => `${part} got ${index[part]?.[1] ?? 'nothing'}, expected ${name}`).join('; ');
  throw new Error(
    `StableDiffusionPipeline: ${source.location}/model_index.json: ${list}. ` +
      'Only Stable Diffusion 1.x and 2.x pipelines are supported.',
  );
}
