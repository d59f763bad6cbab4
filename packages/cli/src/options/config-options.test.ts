import { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { alignPropConfigSchema, ddpoConfigSchema, parseAlignPropConfig, parseDDPOConfig } from '@alignprop/trainer';
import { configOptions, givenFields } from './config-options.js';
import { canonicalFlags } from './flags.js';

const fields = configOptions();

/** Parses flags. @returns the fields that they set */
function parse(...args: string[]): Record<string, unknown> {
  const command = new Command().exitOverride().configureOutput({ writeErr: () => {} });
  for (const { options } of fields) for (const option of options) command.addOption(option);
  command.parse(canonicalFlags(args).args, { from: 'user' });
  return givenFields(command, fields);
}

/** For each field a value that differs from its default: the words of the flag, and the parsed value. */
const examples: Record<string, [written: string[], value: unknown]> = {
  exp_name: [['mine'], 'mine'],
  run_name: [['first'], 'first'],
  seed: [['3'], 3],
  log_with: [['jsonl'], 'jsonl'],
  log_image_freq: [['2'], 2],
  tracker_kwargs: [['{"a": 1}'], { a: 1 }],
  accelerator_kwargs: [['{"a": 1}'], { a: 1 }],
  project_kwargs: [['{"total_limit": 2}'], { total_limit: 2 }],
  tracker_project_name: [['p'], 'p'],
  logdir: [['runs'], 'runs'],
  output_dir: [['o'], 'o'],
  overwrite_output_dir: [['true'], true],
  num_epochs: [['20'], 20],
  save_freq: [['2'], 2],
  scheduler: [['lcm'], 'lcm'],
  clip_skip: [['1'], 1],
  long_prompts: [['true'], true],
  num_checkpoint_limit: [['2'], 2],
  resume_from: [['o'], 'o'],
  push_to_hub: [['true'], true],
  mixed_precision: [['bf16'], 'bf16'],
  allow_tf32: [['False'], false],
  sample_num_steps: [['20'], 20],
  sample_eta: [['0.5'], 0.5],
  sample_guidance_scale: [['7.5'], 7.5],
  negative_prompts: [
    ['blurry, dark', 'ugly'],
    ['blurry, dark', 'ugly'],
  ],
  height: [['256'], 256],
  width: [['none'], null],
  train_batch_size: [['2'], 2],
  train_gradient_accumulation_steps: [['2'], 2],
  train_use_8bit_adam: [['true'], true],
  train_learning_rate: [['3e-4'], 3e-4],
  train_lr_scheduler: [['cosine'], 'cosine'],
  train_lr_warmup_steps: [['5'], 5],
  train_adam_beta1: [['0.8'], 0.8],
  train_adam_beta2: [['0.99'], 0.99],
  train_adam_weight_decay: [['0.1'], 0.1],
  train_adam_epsilon: [['1e-6'], 1e-6],
  train_max_grad_norm: [['5'], 5],
  estimator: [['draft-lv'], 'draft-lv'],
  estimator_steps: [['5'], 5],
  estimator_copies: [['4'], 4],
  cfg_gradient: [['conditional'], 'conditional'],
  cfg_gradient_compensation: [['step'], 'step'],
  guidance_interval: [['0.2,0.8'], [0.2, 0.8]],
  reuse_features: [['3'], 3],
  reuse_features_block: [['1'], 1],
  reward_crop: [['64'], 64],
  estimator_late_bias: [['2.5'], 2.5],
  estimator_rescale: [['0.25'], 0.25],
  estimator_coupling: [['0.4'], 0.4],
  estimator_order: [['2'], 2],
  estimator_floor: [['0.15'], 0.15],
  estimator_last: [['10'], 10],
  estimator_images: [['dataset'], 'dataset'],
  ema_decay: [['0.99'], 0.99],
  ema_export: [['true'], true],
  norm_weight: [['0.5'], 0.5],
  kl_weight: [['0.1'], 0.1],
  reward_perturbation: [['0.1'], 0.1],
  weight_perturbation: [['0.05'], 0.05],
  data_weight: [['0.1'], 0.1],
  on_collapse: [['warn'], 'warn'],
  data_batch_size: [['2'], 2],
  data_caption_dropout: [['0.1'], 0.1],
  eval_freq: [['5'], 5],
  eval_images_per_prompt: [['2'], 2],
  eval_num_steps: [['5'], 5],
  eval_eta: [['0'], 0],
  eval_guidance_scale: [['4'], 4],
  eval_negative_prompts: [['dull'], ['dull']],
  eval_height: [['64'], 64],
  eval_width: [['none'], null],
  eval_seed: [['3'], 3],
  early_stopping_patience: [['3'], 3],
  on_nonfinite: [['skip'], 'skip'],
  truncated_backprop_rand: [['false'], false],
  truncated_backprop_timestep: [['10'], 10],
  truncated_rand_backprop_minmax: [
    ['0', '20'],
    [0, 20],
  ],
  backprop_strategy: [['gaussian'], 'gaussian'],
  backprop_kwargs: [['{"fixed": {"value": 3}}'], { fixed: { value: 3 } }],
  use_lora: [['false'], false],
  train_text_encoder: [['true'], true],
  lora_kind: [['dora'], 'dora'],
  lora_rank: [['8'], 8],
  lora_alpha: [['8'], 8],
  lora_target_modules: [
    ['to_q', 'to_k'],
    ['to_q', 'to_k'],
  ],
  lora_init: [['kaiming-uniform'], 'kaiming-uniform'],
  sample_batch_size: [['4'], 4],
  sample_num_batches_per_epoch: [['4'], 4],
  train_num_inner_epochs: [['2'], 2],
  train_timestep_fraction: [['0.5'], 0.5],
  train_cfg: [['false'], false],
  train_adv_clip_max: [['3'], 3],
  train_clip_range: [['0.01'], 0.01],
  per_prompt_stat_tracking: [['true'], true],
  per_prompt_stat_tracking_buffer_size: [['32'], 32],
  per_prompt_stat_tracking_min_count: [['8'], 8],
  reward_retries: [['5'], 5],
  on_reward_error: [['skip'], 'skip'],
  async_reward_computation: [['true'], true],
  max_workers: [['4'], 4],
};

describe('configOptions', () => {
  it('returns all fields, and this test has an example of each', () => {
    const names = new Set([alignPropConfigSchema, ddpoConfigSchema].flatMap(({ shape }) => Object.keys(shape)));
    expect(fields.map(({ field }) => field)).toEqual([...names]);
    expect(Object.keys(examples).sort()).toEqual([...names].sort());
  });

  it('says which algorithms have a field, and what its default is with DDPO where that differs', () => {
    const named = (name: string) => fields.find(({ field }) => field === name)!;
    expect(named('seed').algorithms).toEqual(['alignprop', 'ddpo']);
    expect(named('kl_weight').algorithms).toEqual(['alignprop']);
    expect(named('train_clip_range')).toMatchObject({ algorithms: ['ddpo'], group: 'DDPO:' });
    expect(named('train_learning_rate').options[0]!.description).toMatch(/With ddpo by default 0\.0003\.$/);
    for (const { algorithms, options } of fields.filter(({ algorithms }) => algorithms.length === 2)) {
      const [option, { description }] = [options[0]!, options[0]!];
      expect(algorithms).toEqual(['alignprop', 'ddpo']);
      const value = (parseDDPOConfig() as Record<string, unknown>)[option.name().replaceAll('-', '_')];
      if (!/With ddpo by default/.test(description)) expect(option.defaultValue, option.name()).toEqual(value);
    }
  });

  it.each(Object.entries(examples))(
    'reads %s in kebab case, in snake case and with the old prefix',
    (field, [written, value]) => {
      for (const flag of [`--${field.replaceAll('_', '-')}`, `--${field}`, `--alignprop_config.${field}`])
        expect(parse(flag, ...written)).toEqual({ [field]: value });
    },
  );

  it.each(Object.entries(alignPropConfigSchema.shape))(
    'shows the default and the description of %s',
    (field, schema) => {
      const [option] = fields.find((candidate) => candidate.field === field)!.options;
      const { [field as 'seed']: defaultValue } = parseAlignPropConfig();
      if (field !== 'backprop_kwargs') expect(option!.defaultValue).toEqual(defaultValue);
      expect(option!.description.replace(/ With ddpo by default .*$/, '')).toBe(schema.description);
    },
  );

  it.each(['(0,20)', '[0, 20]', '0,20', '0 20'])('reads the pair %s', (written) => {
    expect(parse(`--truncated_rand_backprop_minmax=${written}`)).toEqual({ truncated_rand_backprop_minmax: [0, 20] });
  });

  it('reads none and null as null for fields that can be null', () => {
    expect(parse('--log-with', 'none', '--height', 'null', '--run-name', 'none')).toEqual({
      log_with: null,
      height: null,
      run_name: 'none',
    });
  });

  it('reads booleans with and without a value, and negated', () => {
    expect(parse('--use-lora', '--no-allow-tf32', '--no_truncated_backprop_rand', '--push-to-hub', 'no')).toEqual({
      use_lora: true,
      allow_tf32: false,
      truncated_backprop_rand: false,
      push_to_hub: false,
    });
  });

  it.each([
    ['--num-epochs', 'many', /num-epochs.*'many'.*Expected a number/],
    ['--use-lora', 'maybe', /Expected true or false/],
    ['--mixed-precision', 'fp8', /Expected no, none, fp16, bf16/],
    ['--log-with', 'mlflow', /Expected jsonl, tensorboard, trackio, wandb or none/],
    ['--backprop-kwargs', '{fixed', /Expected JSON/],
    ['--truncated-rand-backprop-minmax', '0,x', /Expected a number/],
  ])('rejects %s %s', (flag, value, message) => expect(() => parse(flag, value)).toThrow(message));
});
