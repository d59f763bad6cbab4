import { tensor2d, tensor3d, type Tensor2D, type Tensor3D } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import { beforeAll, describe, expect, it } from 'vitest';
import { readOptions, type GenerateInput, type GenerateOptions, type Spelled } from './generate-options.js';

// The arguments of diffusers' StableDiffusionPipeline and StableDiffusionXLPipeline that `generate` has, by our names.
const diffusersNames = {
  prompt: 'prompt',
  prompt_2: 'prompt2',
  height: 'height',
  width: 'width',
  num_inference_steps: 'numInferenceSteps',
  guidance_scale: 'guidanceScale',
  negative_prompt: 'negativePrompt',
  negative_prompt_2: 'negativePrompt2',
  num_images_per_prompt: 'numImagesPerPrompt',
  eta: 'eta',
  generator: 'generator',
  latents: 'latents',
  guidance_rescale: 'guidanceRescale',
  original_size: 'originalSize',
  crops_coords_top_left: 'cropsCoordsTopLeft',
  target_size: 'targetSize',
  negative_original_size: 'negativeOriginalSize',
  negative_crops_coords_top_left: 'negativeCropsCoordsTopLeft',
  negative_target_size: 'negativeTargetSize',
  clip_skip: 'clipSkip',
  image: 'image',
  strength: 'strength',
} as const;
const options = Object.entries(diffusersNames).filter(([name]) => name !== 'prompt');

describe('readOptions', () => {
  let [embeds, pooled]: [Tensor3D, Tensor2D] = [] as never;
  beforeAll(async () => {
    await useBackend('cpu');
    [embeds, pooled] = [tensor3d([1, 2, 3, 4], [1, 2, 2]), tensor2d([[1, 2]])];
  });
  const read = (first: unknown, more?: object) =>
    readOptions(first as Spelled<GenerateInput>, more as Spelled<GenerateOptions>);

  it.each(options)("takes diffusers' %s for %s", (written, name) => {
    const value = `the ${name}`;
    expect(read({ prompt: 'a', [written]: value }).options).toMatchObject({ [name]: value });
    expect(read('a', { [name]: value }).options).toMatchObject({ [name]: value });
  });

  it('takes the prompt first or among the options, as one text, several or an encoding', () => {
    const encoding = { promptEmbeds: embeds, pooledPromptEmbeds: pooled };
    expect(read('a')).toMatchObject({ prompt: 'a', outputType: 'image' });
    expect(read(['a', 'b']).prompt).toEqual(['a', 'b']);
    expect(read({ prompt: ['a', 'b'] }).prompt).toEqual(['a', 'b']);
    for (const call of [
      read(encoding),
      read(encoding, { seed: 1 }),
      read({ prompt_embeds: embeds, pooledPromptEmbeds: pooled, seed: 1 }),
    ])
      expect(call.prompt).toEqual(encoding);
    const negative = { negative_prompt_embeds: embeds, negativePooledPromptEmbeds: pooled };
    expect(read('a', negative).options.negativePrompt).toEqual(encoding);
    expect(read({ prompt: 'a', output_type: 'tensor' }).outputType).toBe('tensor');
    expect(read({ prompt: 'a', outputType: 'tensor', output_type: undefined }).outputType).toBe('tensor');
  });

  it.each([
    ['both spellings', ['a', { seed: 1, clipSkip: 1, clip_skip: 1 }], /got clipSkip and clip_skip, expected one/],
    ['another spelling', ['a', { num_inference_step: 1 }], /unknown option.*Did you mean 'numInferenceSteps'\?/],
    ['an option of every object', ['a', { constructor: 1 }], /unknown option 'constructor'/],
    ['a prompt twice', ['a', { prompt: 'b' }], /got both the prompt as an argument and the option prompt/],
    ['no prompt', [{ seed: 1 }], /prompt got none, expected a text, a list of texts, or promptEmbeds/],
    ['nothing', [], /prompt got none/],
    ['null', [null], /prompt got none/],
    ['a number', [5], /prompt got 5, expected a text/],
    ['a list of numbers', [[5]], /prompt got \[5\], expected a text/],
    ['an object and options', [{ prompt: 'a' }, { seed: 1 }], /prompt got \{"prompt":"a"\}, expected a text/],
    ['the output of diffusers', ['a', { output_type: 'pil' }], /outputType got 'pil', expected 'image' or 'tensor'/],
  ])('refuses %s', (_, [first, more], message) => {
    expect(() => read(first, more as object)).toThrow(message as RegExp);
  });

  it('refuses a text beside its encoding, and a pooled encoding alone', () => {
    expect(() => read({ prompt: 'a', promptEmbeds: embeds })).toThrow(/got both a prompt and promptEmbeds/);
    expect(() => read('a', { negativePrompt: 'b', negativePromptEmbeds: embeds })).toThrow(
      /got both negativePrompt and negativePromptEmbeds/,
    );
    expect(() => read('a', { negative_pooled_prompt_embeds: pooled })).toThrow(
      /got the pooled encoding alone, expected negativePromptEmbeds with it/,
    );
  });
});
