import { zeros } from '@tensorflow/tfjs-core';
import { useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { beforeAll, expect, it } from 'vitest';
import { parseAlignPropConfig } from '../config/config.js';
import { full } from '../estimators/draft.js';
import { seededGenerators } from './generators.js';
import { MicroBatches } from './micro-batch.js';

beforeAll(() => useBackend('cpu'));

it('frees the prompt embeddings when encoding the negative prompts throws, and encodes those again next time', () =>
  expectNoLeaks(async () => {
    let failures = 1;
    const pipeline = {
      params: { unet: {}, text_encoder: {} },
      unet: { config: { time_cond_proj_dim: null } },
      encodePrompt: async () => ({ promptEmbeds: zeros([1, 2, 3]) }),
      encodeNegativePrompt: async () => {
        if (failures-- > 0) throw new Error('out of memory');
        return { promptEmbeds: zeros([1, 2, 3]) };
      },
      timeIds: () => undefined,
    } as unknown as StableDiffusionPipeline;
    const config = parseAlignPropConfig({ negative_prompts: 'grey' });
    const batches = new MicroBatches(pipeline, () => 'cat', config, full(), seededGenerators(0));
    const texts = { prompts: ['cat'], promptMetadata: [undefined], negativePrompts: ['grey'] };
    await expect(batches.encode(texts)).rejects.toThrow('out of memory');
    const embeds = await batches.encode(texts);
    batches.dispose();
    await Promise.resolve();
    return Object.values(embeds);
  }));
