import { useBackend } from '@alignprop/autograd-ext';
import type { StableDiffusionPipeline } from '@alignprop/diffusion';
import { beforeAll, describe, expect, it } from 'vitest';
import { tinyPipeline, tinyTrainer } from '../__fixtures__/tiny-run.js';
import type { AlignPropConfigInput } from '../config/config.js';

describe('a trainer', () => {
  let pipeline: StableDiffusionPipeline;
  beforeAll(async () => {
    await useBackend('wasm');
    pipeline = await tinyPipeline();
  });

  function warningsOf(config: AlignPropConfigInput): string[] {
    const warnings: string[] = [];
    const logger = { info: () => {}, warn: (message: string) => void warnings.push(message) };
    tinyTrainer({ pipeline, config, logger }).dispose();
    return warnings;
  }

  const options: AlignPropConfigInput = {
    ...{ negative_prompts: 'dark', guidance_interval: [0.2, 0.8], cfg_gradient: 'conditional' },
  };

  it('warns of options that act on guidance where there is none', () => {
    expect(warningsOf({ ...options, sample_guidance_scale: 1 })).toEqual(
      ['negative_prompts', 'guidance_interval', 'cfg_gradient'].map(
        (option) => `${option} has no effect without guidance (sample_guidance_scale above 1).`,
      ),
    );
    expect(warningsOf({ ...options, sample_guidance_scale: 3 })).toEqual([]);
    expect(warningsOf({ sample_guidance_scale: 1 })).toEqual([]);
  });

  it('warns of a plan that often trains nothing', () => {
    const [warning] = warningsOf({ sample_num_steps: 10, truncated_backprop_rand: true });
    expect(warning).toMatch(/31\.3 % of the truncation draws attach none of the 10 steps; they are drawn again/);
  });
});
