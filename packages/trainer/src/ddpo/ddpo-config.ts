import { z } from 'zod';
import { alignPropConfigSchema, type CamelCase } from '../config/config.js';
import { parseOptions } from '../config/config-keys.js';
import { refuseShared } from '../config/refusals.js';

const shared = alignPropConfigSchema.shape;
/** A count: none of a run reaches a billion. */
const positive = (max = 1_000_000_000) => z.int().min(1).max(max);

const fields = {
  // run
  exp_name: shared.exp_name.unwrap().default('ddpo').describe('Name of the experiment; kept in config.json.'),
  run_name: shared.run_name,
  seed: shared.seed
    .unwrap()
    .default(0)
    .describe(
      'Seed of everything drawn: adapter, prompts, latents, noise and shuffles, each from a generator of its own.',
    ),
  log_with: shared.log_with,
  log_image_freq: shared.log_image_freq
    .unwrap()
    .default(1)
    .describe('Epochs between two calls of the image samples hook, or between images that trackers get.'),
  tracker_kwargs: shared.tracker_kwargs,
  accelerator_kwargs: shared.accelerator_kwargs,
  project_kwargs: shared.project_kwargs,
  tracker_project_name: shared.tracker_project_name,
  logdir: shared.logdir,
  output_dir: shared.output_dir
    .unwrap()
    .default('')
    .describe(
      'Folder for config.json, metrics.jsonl, checkpoints/ and pytorch_lora_weights.safetensors. ' +
        'Without it and run_name nothing is written.',
    ),
  overwrite_output_dir: shared.overwrite_output_dir,
  num_epochs: positive()
    .default(100)
    .describe('Epochs to train. In each, images are drawn and judged, and then trained on.'),
  save_freq: shared.save_freq,
  num_checkpoint_limit: shared.num_checkpoint_limit,
  resume_from: shared.resume_from,
  push_to_hub: shared.push_to_hub,
  on_nonfinite: shared.on_nonfinite
    .unwrap()
    .default('stop')
    .describe(
      'When a reward or log-probability is NaN or infinite: stop, with a checkpoint of the epoch before, ' +
        'or skip: warn and draw the epoch again, and stop after ten in a row.',
    ),
  // numbers
  mixed_precision: shared.mixed_precision,
  allow_tf32: shared.allow_tf32,
  // sampling
  scheduler: shared.scheduler,
  sample_num_steps: shared.sample_num_steps,
  sample_eta: shared.sample_eta
    .unwrap()
    .default(1)
    .describe("DDIM's eta, the noise of each step: DDPO differentiates its density. 1 is as noisy as DDPM."),
  sample_guidance_scale: shared.sample_guidance_scale,
  sample_batch_size: positive(4096).default(1).describe('Images drawn at a time, a multiple of train_batch_size.'),
  sample_num_batches_per_epoch: positive(100_000).default(2).describe('Batches of sample_batch_size images per epoch.'),
  negative_prompts: shared.negative_prompts,
  clip_skip: shared.clip_skip,
  height: shared.height,
  width: shared.width,
  // training
  train_batch_size: shared.train_batch_size,
  train_gradient_accumulation_steps: positive()
    .default(1)
    .describe('Micro-batches per optimizer step, each with all of its denoising steps.'),
  train_num_inner_epochs: positive().default(1).describe('How often the images of an epoch are trained on.'),
  train_timestep_fraction: z
    .number()
    .gt(0)
    .max(1)
    .default(1)
    .describe('Share of the denoising steps of each image that is trained on, drawn at random.'),
  train_cfg: z
    .boolean()
    .default(true)
    .describe('Whether the trained prediction is guided like the one that draws the images.'),
  train_adv_clip_max: z.number().positive().max(1e9).default(5).describe('Advantages are clipped to ± this.'),
  train_clip_range: z.number().positive().lt(1).default(1e-4).describe('Importance ratios are clipped to 1 ± this.'),
  train_use_8bit_adam: shared.train_use_8bit_adam,
  train_learning_rate: shared.train_learning_rate.unwrap().default(3e-4).describe('Learning rate of AdamW.'),
  train_lr_scheduler: shared.train_lr_scheduler,
  train_lr_warmup_steps: shared.train_lr_warmup_steps,
  train_adam_beta1: shared.train_adam_beta1,
  train_adam_beta2: shared.train_adam_beta2,
  train_adam_weight_decay: shared.train_adam_weight_decay,
  train_adam_epsilon: shared.train_adam_epsilon,
  train_max_grad_norm: shared.train_max_grad_norm,
  // advantages
  per_prompt_stat_tracking: z
    .boolean()
    .default(false)
    .describe(
      'Whether advantages compare with the last rewards of the same prompt, rather than with those of the epoch.',
    ),
  per_prompt_stat_tracking_buffer_size: positive()
    .default(16)
    .describe('Number of last rewards saved for each prompt.'),
  per_prompt_stat_tracking_min_count: positive()
    .default(16)
    .describe("A prompt with fewer than this is compared with the epoch's rewards."),
  // rewards
  reward_retries: z
    .int()
    .min(0)
    .max(1000)
    .default(2)
    .describe('How often a reward that throws is called again for the same images, after 1, 2, 4 … seconds.'),
  on_reward_error: z
    .enum(['stop', 'skip'])
    .default('stop')
    .describe(
      'When a reward still fails after its retries: stop, with a checkpoint of the epoch before, or skip: warn, ' +
        'train on the other images of the epoch, and stop if none is left.',
    ),
  async_reward_computation: z
    .boolean()
    .default(false)
    .describe('Whether the next images are drawn while the rewards of a batch are pending.'),
  max_workers: positive()
    .default(2)
    .describe('Accepted so that TRL configurations load; a reward function decides itself what runs concurrently.'),
  // guards
  ema_decay: shared.ema_decay,
  ema_export: shared.ema_export,
  eval_freq: shared.eval_freq,
  eval_images_per_prompt: shared.eval_images_per_prompt,
  eval_num_steps: shared.eval_num_steps,
  eval_eta: shared.eval_eta,
  eval_guidance_scale: shared.eval_guidance_scale,
  eval_negative_prompts: shared.eval_negative_prompts,
  eval_height: shared.eval_height,
  eval_width: shared.eval_width,
  eval_seed: shared.eval_seed,
  early_stopping_patience: shared.early_stopping_patience,
  on_collapse: shared.on_collapse,
  // adapter
  use_lora: shared.use_lora,
  lora_kind: shared.lora_kind,
  lora_rank: shared.lora_rank,
  lora_alpha: shared.lora_alpha,
  lora_target_modules: shared.lora_target_modules,
  lora_init: shared.lora_init,
};

/**
 * Every option of a DDPO run: those of TRL's `DDPOConfig` with its names and defaults, and those of
 * `alignPropConfigSchema` that mean the same. Snake case; see `parseDDPOConfig` for camel case.
 */
export const ddpoConfigSchema = z.strictObject(fields).superRefine((config, context) => {
  const refuse = (key: keyof typeof fields, message: string) =>
    context.addIssue({ code: 'custom', path: [key], message, input: config[key] });
  const { sample_batch_size: sampled, train_batch_size: trained, train_gradient_accumulation_steps: rounds } = config;
  const images = sampled * config.sample_num_batches_per_epoch;
  if (config.sample_eta === 0)
    refuse(
      'sample_eta',
      'got 0, expected more: without noise a step has no density, so that there is nothing to take the gradient of. ' +
        'Set 1.',
    );
  if (sampled % trained !== 0)
    refuse('train_batch_size', `got ${trained}, expected a divisor of sample_batch_size ${sampled}.`);
  if (images % (trained * rounds) !== 0) {
    refuse(
      'train_gradient_accumulation_steps',
      `got ${rounds}, so that an optimizer step takes ${trained * rounds} images; ` +
        `expected a divisor of the ${images} images of an epoch.`,
    );
  }
  if (Math.trunc(config.sample_num_steps * config.train_timestep_fraction) === 0) {
    refuse(
      'train_timestep_fraction',
      `got ${config.train_timestep_fraction}, expected at least 1/${config.sample_num_steps}: ` +
        'it leaves none of the denoising steps.',
    );
  }
  refuseShared(config, refuse);
});

/** A complete configuration, in TRL's spelling. */
export type DDPOConfig = z.output<typeof ddpoConfigSchema>;

type Input = z.input<typeof ddpoConfigSchema>;

/** A user's configuration: any of the options, in snake case or in camel case. */
export type DDPOConfigInput = Input & { readonly [K in keyof Input as CamelCase<K>]?: Input[K] };

/**
 * Fills in the defaults and checks everything.
 * @throws one error with every problem: unknown keys (with the nearest known one), wrong types and ranges, batches that
 *   do not divide each other, and an eta of 0
 */
export function parseDDPOConfig(input: DDPOConfigInput | Readonly<Record<string, unknown>> = {}): DDPOConfig {
  return parseOptions('DDPOConfig', ddpoConfigSchema, Object.keys(fields), input);
}

/** The configuration as JSON Schema (draft 2020-12), for editors. */
export const ddpoJsonSchema = (): object => z.toJSONSchema(ddpoConfigSchema, { io: 'input' });
