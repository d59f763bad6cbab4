import { describe, expect, it } from 'vitest';
import {
  alignPropConfigSchema,
  alignPropJsonSchema,
  parseAlignPropConfig,
  type AlignPropConfigInput,
} from './config.js';
import { backpropPlan } from '../estimators/config-plan.js';
import { chainOf } from '../estimators/__fixtures__/chains.js';
import { attachProbabilities, emptyProbability } from '../estimators/plans.js';
import { draftLV, full, lastK } from '../estimators/draft.js';
import { drTune } from '../estimators/drtune.js';
import { refl } from '../estimators/refl.js';

/** The defaults of TRL 0.23's AlignPropConfig, except that of mixed_precision, which is 'fp16' there. */
const trl = {
  run_name: '',
  seed: 0,
  log_with: null,
  log_image_freq: 1,
  tracker_kwargs: {},
  accelerator_kwargs: {},
  project_kwargs: {},
  tracker_project_name: 'trl',
  logdir: 'logs',
  num_epochs: 100,
  save_freq: 1,
  num_checkpoint_limit: 5,
  mixed_precision: 'no',
  allow_tf32: true,
  resume_from: '',
  sample_num_steps: 50,
  sample_eta: 1,
  sample_guidance_scale: 5,
  train_batch_size: 1,
  train_use_8bit_adam: false,
  train_learning_rate: 1e-3,
  train_adam_beta1: 0.9,
  train_adam_beta2: 0.999,
  train_adam_weight_decay: 1e-4,
  train_adam_epsilon: 1e-8,
  train_gradient_accumulation_steps: 1,
  train_max_grad_norm: 1,
  negative_prompts: null,
  truncated_backprop_rand: true,
  truncated_backprop_timestep: 49,
  truncated_rand_backprop_minmax: [0, 50],
  push_to_hub: false,
};
const refusal = (input: Record<string, unknown>) => {
  try {
    parseAlignPropConfig(input);
  } catch (error) {
    return (error as Error).message;
  }
  return 'accepted';
};

describe('parseAlignPropConfig', () => {
  it("has TRL's options with TRL's defaults", () => {
    expect(parseAlignPropConfig()).toMatchObject(trl);
    expect(parseAlignPropConfig(trl)).toEqual(parseAlignPropConfig());
  });

  it('describes every option', () => {
    for (const [name, field] of Object.entries(alignPropConfigSchema.shape))
      expect(field.description, name).toBeTruthy();
  });

  it('accepts camel case, and refuses an option given in both spellings', () => {
    const config = parseAlignPropConfig({
      numEpochs: 3,
      trainAdamBeta1: 0.8,
      truncatedRandBackpropMinmax: [1, 4],
      sampleNumSteps: 6,
    });
    expect(config).toMatchObject({
      num_epochs: 3,
      train_adam_beta1: 0.8,
      truncated_rand_backprop_minmax: [1, 4],
      sample_num_steps: 6,
    });
    expect(refusal({ numEpochs: 3, num_epochs: 4 })).toMatch(/num_epochs: given twice/);
  });

  it('lists every problem in one error, with suggestions for unknown keys', () => {
    const message = refusal({ num_epoch: 3, lerning: 1, save_freq: 0, sampleEta: 2 });
    expect(message).toMatch(/num_epoch: unknown option. Did you mean 'num_epochs'\?/);
    expect(message).toMatch(/lerning: unknown option.\n/);
    expect(message).toMatch(/save_freq: /);
    expect(message).toMatch(/sample_eta: /);
  });

  it('names the path of a nested option', () => {
    expect(refusal({ project_kwargs: { total_limit: 'x' } })).toMatch(/project_kwargs\.total_limit: /);
  });

  it.each([
    ['train_text_encoder', { use_lora: false, train_text_encoder: true }],
    ['train_lr_warmup_steps', { train_lr_warmup_steps: 3 }],
    ['ema_export', { ema_export: true }],
    ['early_stopping_patience', { early_stopping_patience: 2 }],
    ['kl_weight', { kl_weight: 1, use_lora: false }],
    ['kl_weight', { kl_weight: 1, train_text_encoder: true }],
    ['accelerator_kwargs', { accelerator_kwargs: { even_batches: true } }],
  ])('refuses %s where it would have no effect', (key, input) => {
    expect(refusal(input)).toMatch(new RegExp(`${key}: got .*expected`));
  });

  it("T7: accepts all of TRL's values of mixed_precision, 'none' and 'no' included", () => {
    for (const value of ['no', 'none', 'fp16', 'bf16'])
      expect(parseAlignPropConfig({ mixed_precision: value }).mixed_precision).toBe(value);
    expect(refusal({ mixed_precision: 'fp8' })).toMatch(/mixed_precision/);
  });

  it('exports a JSON Schema in which every option has a default', () => {
    const schema = alignPropJsonSchema() as { properties: Record<string, { default?: unknown }>; required?: string[] };
    expect(schema.properties.truncated_rand_backprop_minmax?.default).toEqual([0, 50]);
    expect(schema.required ?? []).toEqual([]);
  });
});

describe('T1: a truncation that attaches no step', () => {
  it('is refused if it is fixed at or beyond the number of steps, with advice that is accepted', () => {
    const message = refusal({ truncated_backprop_rand: false, sample_num_steps: 20 });
    expect(message).toMatch(/truncated_backprop_timestep: got 49: with sample_num_steps 20 .* 100\.0 % .*Try 19/);
    expect(refusal({ truncated_backprop_rand: false, sample_num_steps: 20, truncated_backprop_timestep: 19 })).toBe(
      'accepted',
    );
    expect(
      refusal({ backprop_strategy: 'fixed', sample_num_steps: 20, backprop_kwargs: { fixed: { value: 20 } } }),
    ).toMatch(/backprop_kwargs: got 20/);
  });

  it('is 81.7 % of random ones at 4 steps, which is refused; 47.3 % at 8, 31.3 % at 10, 0.8 % at 20', () => {
    expect(refusal({ sample_num_steps: 4 })).toMatch(
      /truncated_rand_backprop_minmax: got \[0, 50\]: with sample_num_steps 4 .* 81\.7 % .*Try \[0, 4\]/,
    );
    const empty = (sample_num_steps: number) =>
      emptyProbability(backpropPlan(parseAlignPropConfig({ sample_num_steps })), sample_num_steps);
    expect([8, 10, 20].map((steps) => empty(steps).toFixed(3))).toEqual(['0.473', '0.313', '0.008']);
  });

  it.each([1, 2, 3, 4, 6, 10])('is refused with advice that is accepted, at %d steps', (steps) => {
    for (const backprop_strategy of ['per-step', 'fixed', 'uniform', 'gaussian']) {
      const message = refusal({
        backprop_strategy,
        sample_num_steps: steps,
        truncated_backprop_timestep: 60,
        backprop_kwargs: { uniform: { min: 45, max: 60 } },
        truncated_rand_backprop_minmax: [40, 50],
      });
      const [minmax, timestep, kwargs] = [
        /Try \[(\d+), (\d+)\]/.exec(message),
        /Try (\d+) /.exec(message),
        /backprop_kwargs (\{.*\})\./.exec(message),
      ];
      const follow = minmax
        ? { backprop_strategy, truncated_rand_backprop_minmax: [Number(minmax[1]), Number(minmax[2])] }
        : timestep
          ? { backprop_strategy, truncated_backprop_timestep: Number(timestep[1]) }
          : kwargs
            ? { backprop_strategy, backprop_kwargs: JSON.parse(kwargs[1]!.replace(/(\w+):/g, '"$1":')) }
            : { backprop_strategy: 'fixed', truncated_backprop_timestep: 0 };
      expect(refusal({ ...follow, sample_num_steps: steps }), message).toBe('accepted');
    }
  });

  it('refuses options that the estimator does not read, contradictions, and counts beyond the steps', () => {
    expect(refusal({ estimator: 'refl', backprop_strategy: 'gaussian' })).toMatch(
      /backprop_strategy: got 'gaussian' beside estimator 'refl'/,
    );
    expect(refusal({ estimator: 'refl', estimator_steps: 2, estimator_copies: 3 })).toMatch(
      /estimator_steps: got 2, which the estimator 'refl' does not read.*\n.*estimator_copies: got 3/,
    );
    expect(refusal({ estimator_last: 3 })).toMatch(
      /estimator_last: got 3, which the estimator 'per-step' does not read/,
    );
    expect(refusal({ estimator: 'drtune', estimator_steps: 9, estimator_last: 10, sample_num_steps: 8 })).toMatch(
      /estimator_steps: got 9, expected at most sample_num_steps, 8.*\n.*estimator_last: got 10/,
    );
    expect(refusal({ estimator: 'draft' })).toMatch(/estimator: .*draft-k/);
  });

  it('refuses bounds in the wrong order', () => {
    expect(refusal({ truncated_rand_backprop_minmax: [6, 2] })).toMatch(/expected min <= max/);
    expect(refusal({ truncated_rand_backprop_minmax: [0, 61], sample_num_steps: 60 })).toMatch(
      /at most .* 60.*\[0, 60\]/,
    );
    expect(refusal({ truncated_rand_backprop_minmax: [0, 60], sample_num_steps: 60 })).toBe('accepted');
    expect(refusal({ truncated_rand_backprop_minmax: [0, 50], sample_num_steps: 20 })).toBe('accepted');
    expect(refusal({ backprop_strategy: 'uniform', backprop_kwargs: { uniform: { min: 6, max: 6 } } })).toMatch(
      /expected min < max/,
    );
  });
});

describe('estimators', () => {
  const planOf = (input: AlignPropConfigInput) => backpropPlan(parseAlignPropConfig(input));

  it("are TRL's by default, chosen by truncated_backprop_rand", () => {
    expect(planOf({}).name).toBe('per-step');
    expect(planOf({ truncated_backprop_rand: false }).name).toBe('fixed');
    expect(attachProbabilities(planOf({ estimator: 'per-step' }), chainOf(50))).toEqual(
      attachProbabilities(planOf({}), chainOf(50)),
    );
    expect(attachProbabilities(planOf({ estimator: 'gaussian' }), chainOf(50))).toEqual(
      attachProbabilities(planOf({ backprop_strategy: 'gaussian' }), chainOf(50)),
    );
  });

  it.each([
    [{ estimator: 'full' }, full()],
    [{ estimator: 'draft-k' }, lastK(1)],
    [{ estimator: 'draft-k', estimator_steps: 10 }, lastK(10)],
    [{ estimator: 'draft-lv' }, draftLV(2)],
    [{ estimator: 'draft-lv', estimator_copies: 5 }, draftLV(5)],
    [{ estimator: 'refl', sample_num_steps: 40 }, refl(10)],
    [{ estimator: 'refl', sample_num_steps: 1 }, refl(1)],
    [{ estimator: 'refl', estimator_last: 3 }, refl(3)],
    [{ estimator: 'drtune', sample_num_steps: 50 }, drTune(3, 20)],
    [{ estimator: 'drtune', sample_num_steps: 2 }, drTune(2, 1)],
    [{ estimator: 'drtune', estimator_steps: 5, estimator_last: 7 }, drTune(5, 7)],
  ] as const)('%o is the plan of that name, with the defaults of its paper', (input, plan) =>
    expect(planOf(input)).toEqual(plan),
  );

  it.each([1, 2, 3, 7, 50])('attach a step in every draw at %d steps', (sample_num_steps) => {
    for (const estimator of ['full', 'draft-k', 'draft-lv', 'refl', 'drtune'] as const)
      expect(emptyProbability(planOf({ estimator, sample_num_steps }), sample_num_steps)).toBe(0);
  });
});
