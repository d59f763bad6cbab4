import { describe, expect, it } from 'vitest';
import { parseDDPOConfig } from './ddpo-config.js';

describe('DDPOConfig', () => {
  it("has TRL's defaults", () => {
    expect(parseDDPOConfig()).toMatchObject({
      num_epochs: 100,
      seed: 0,
      sample_num_steps: 50,
      sample_eta: 1,
      sample_guidance_scale: 5,
      sample_batch_size: 1,
      sample_num_batches_per_epoch: 2,
      train_batch_size: 1,
      train_use_8bit_adam: false,
      train_learning_rate: 3e-4,
      train_adam_beta1: 0.9,
      train_adam_beta2: 0.999,
      train_adam_weight_decay: 1e-4,
      train_adam_epsilon: 1e-8,
      train_gradient_accumulation_steps: 1,
      train_max_grad_norm: 1,
      train_num_inner_epochs: 1,
      train_cfg: true,
      train_adv_clip_max: 5,
      train_clip_range: 1e-4,
      train_timestep_fraction: 1,
      per_prompt_stat_tracking: false,
      per_prompt_stat_tracking_buffer_size: 16,
      per_prompt_stat_tracking_min_count: 16,
      async_reward_computation: false,
      max_workers: 2,
      tracker_project_name: 'trl',
      logdir: 'logs',
      use_lora: true,
      lora_rank: 4,
    });
  });

  it('accepts camel case', () => {
    expect(parseDDPOConfig({ trainClipRange: 0.01, sampleBatchSize: 4, train_batch_size: 2 })).toMatchObject({
      train_clip_range: 0.01,
      sample_batch_size: 4,
      train_batch_size: 2,
    });
  });

  it('refuses eta 0, where a step has no density', () => {
    expect(() => parseDDPOConfig({ sample_eta: 0 })).toThrow(
      /DDPOConfig: sample_eta: got 0, expected more: without noise a step has no density.* Set 1\./,
    );
  });

  it('reports every problem in one error, with the nearest known key', () => {
    const wrong = {
      sample_batch_size: 4,
      train_batch_size: 3,
      train_timestep_fraction: 0.01,
      trainClipRnge: 1,
      accelerator_kwargs: { even_batches: true },
    };
    const problems = [
      /trainClipRnge: unknown option\. Did you mean 'trainClipRange'\?/,
      /train_batch_size: got 3, expected a divisor of sample_batch_size 4/,
      new RegExp(
        'train_gradient_accumulation_steps: got 1, so that an optimizer step takes 3 images; ' +
          'expected a divisor of the 8 images of an epoch',
      ),
      /train_timestep_fraction: got 0\.01, expected at least 1\/50/,
      /accelerator_kwargs/,
    ];
    const inOrder = problems.map(({ source }) => source).join('(.|\\n)*');
    expect(() => parseDDPOConfig(wrong)).toThrow(new RegExp(inOrder));
  });
});
