import { concat, slice, type Tensor } from '@tensorflow/tfjs-core';
import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose, fixturePath } from '../../../../fixtures/index.js';
import type { GenerateOptions, Prompt } from './generate-options.js';
import { StableDiffusionPipeline } from './stable-diffusion.js';

// Single letters are one token each: 75 fill a chunk.
const letters = (count: number, first = 0) =>
  Array.from({ length: count }, (_, i) => 'abcdefghij'[(first + i * 3) % 10]).join(' ');
const [start, end] = [letters(75), letters(40, 7)];
const long = `${start} ${end}`;

describe.each(['sd2-tiny', 'sdxl-tiny'])('long prompts of %s', (model) => {
  let pipeline: StableDiffusionPipeline;
  beforeAll(async () => {
    await useBackend('wasm');
    pipeline = await StableDiffusionPipeline.fromPretrained(fixturePath(`${model}/model`), {
      engine: new TfjsEngine(),
    });
  });
  const draw = async (prompt: Prompt, options: GenerateOptions = {}) => {
    const size = { seed: 1, numInferenceSteps: 1, height: 16, width: 16 };
    const { images, truncated } = await pipeline.generate(prompt, { ...size, ...options, outputType: 'tensor' });
    return { pixels: [...images.dataSync()], truncated };
  };

  it('are encoded in chunks of 75 tokens, each with its start and end, and pooled from the first', async () => {
    expect(pipeline.chunkCount([start])).toBe(1);
    expect(pipeline.chunkCount(['a', long])).toBe(2);
    const both = await pipeline.encodePrompt([long, 'a'], { chunks: 2 });
    const [first, second] = [await pipeline.encodePrompt([start, 'a']), await pipeline.encodePrompt([end, ''])];
    expectClose(both.promptEmbeds, concat([first.promptEmbeds, second.promptEmbeds], 1), 1e-6, 'embeds');
    if (!pipeline.isXL) return expect(both.pooledPromptEmbeds).toBeUndefined();
    expectClose(both.pooledPromptEmbeds!, first.pooledPromptEmbeds!, 1e-6, 'pooled');
  });

  it('draw otherwise than cut ones, with a negative prompt of as many chunks', async () => {
    const cut = await draw(long, { negativePrompt: 'b' });
    expect(cut.pixels).toEqual((await draw(start, { negativePrompt: 'b' })).pixels);
    expect(cut.truncated[0]!.replaceAll(' ', '')).toBe(end.replaceAll(' ', ''));
    const whole = await draw(long, { negativePrompt: 'b', longPrompts: true });
    expect(whole.truncated).toEqual(['']);
    expect(whole.pixels).not.toEqual(cut.pixels);
    const negative = await pipeline.encodeNegativePrompt(['b'], 1, { chunks: 2 });
    const prompt = await pipeline.encodePrompt([long], { chunks: 2 });
    expect((await draw(prompt, { negativePrompt: negative })).pixels).toEqual(whole.pixels);
    const short = await draw('a', { longPrompts: true });
    expect(short.pixels).toEqual((await draw('a')).pixels);
    await draw(long, { longPrompts: true }); // with the default negative prompt
  });

  it('are drawn from embeddings that were computed before, such as those of weighted words', async () => {
    const encoding = await pipeline.encodePrompt(['a', 'b']);
    const negativePrompt = await pipeline.encodeNegativePrompt(['c', 'c'], 2);
    expect((await draw(encoding, { negativePrompt })).pixels).toEqual(
      (await draw(['a', 'b'], { negativePrompt: 'c' })).pixels,
    );
    expect((await draw(encoding)).pixels).toEqual((await draw(['a', 'b'])).pixels);
    const promptEmbeds = slice(encoding.promptEmbeds, [0, 0, 0], [-1, 50, -1]) as never;
    await expect(draw({ ...encoding, promptEmbeds }, { negativePrompt })).rejects.toThrow(
      /negativePromptEmbeds got \[2, 77, \d+\], expected \[2, 50, \d+\]/,
    );
  });

  it('leak no tensors, and leave out no more layers than there are', async () => {
    pipeline.dispose();
    await expectNoLeaks(async () => {
      const encoding = await pipeline.encodePrompt([long], { chunks: 2, clipSkip: 1 });
      pipeline.dispose();
      return Object.values(encoding) as Tensor[];
    });
    await expect(pipeline.encodePrompt(['a'], { clipSkip: 40 })).rejects.toThrow(
      /clipSkip got 40, expected an integer/,
    );
    await expect(pipeline.encodePrompt(['a'], { chunk: 2 } as never)).rejects.toThrow(/chunk/);
  });
});
