import { z } from 'zod';
import { backpropStrategies, checkBackpropPlan, estimators } from '../estimators/config-plan.js';
import {
  trackerHelp,
  trackerNames,
  trackerOptions,
  trackerOptionsHelp,
  trackerRefusal,
} from '../trackers/create-trackers.js';
import { parseOptions } from './config-keys.js';
import { learningRateSchedules } from '../optim/learning-rate.js';

const positive = () => z.int().min(1);
const chance = () => z.number().min(0).lt(1);

const fields = {
  // run
  exp_name: z.string().default('alignprop').describe('Name of the experiment; kept in config.json.'),
  run_name: z
    .string()
    .default('')
    .describe('Name of the run: where output_dir is empty, files go to <logdir>/<run_name>.'),
  seed: z
    .int()
    .min(0)
    .default(0)
    .describe(
      'Seed of everything drawn: adapter, prompts, latents, noise and truncation, each from a generator of its own.',
    ),
  log_with: z
    .enum(trackerNames)
    .nullable()
    .default(null)
    .describe(
      `Where metrics go besides metrics.jsonl, which every run with a folder has. ${trackerHelp}. "wandb" is refused.`,
    ),
  log_image_freq: positive().default(1).describe('Optimizer steps between calls of the image samples hook.'),
  tracker_kwargs: trackerOptions.default({}).describe(`Options of each tracker. ${trackerOptionsHelp}.`),
  accelerator_kwargs: z
    .record(z.string(), z.unknown())
    .default({})
    .describe("accelerate's options; there is no accelerate here, so it has to stay empty."),
  project_kwargs: z
    .strictObject({
      project_dir: z.string().optional(),
      total_limit: positive().optional(),
      automatic_checkpoint_naming: z.literal(true).optional(),
    })
    .default({})
    .describe(
      "accelerate's project options: project_dir stands in for output_dir, total_limit for num_checkpoint_limit.",
    ),
  tracker_project_name: z.string().default('trl').describe('Project that trackers file the run under.'),
  logdir: z.string().default('logs').describe('Folder of runs; see run_name.'),
  output_dir: z
    .string()
    .default('')
    .describe(
      'Folder for config.json, metrics.jsonl, checkpoints/ and pytorch_lora_weights.safetensors. Without it and run_name nothing is written.',
    ),
  overwrite_output_dir: z
    .boolean()
    .default(false)
    .describe('Removes the checkpoints and metrics of another run from output_dir, instead of refusing to start.'),
  num_epochs: positive().default(100).describe('Epochs to train. An epoch is one optimizer step, as in TRL.'),
  save_freq: positive()
    .default(1)
    .describe('Epochs between checkpoints, counted from the first; the last epoch is always saved.'),
  num_checkpoint_limit: positive()
    .default(5)
    .describe('Checkpoints to keep; older ones are deleted after a newer one is complete.'),
  resume_from: z
    .string()
    .default('')
    .describe(
      'Checkpoint to continue from, or a folder of checkpoints, whose newest is taken. output_dir itself may have none yet: the run then begins anew.',
    ),
  push_to_hub: z.boolean().default(false).describe('Upload the adapter at the end. Not there yet.'),
  // numbers
  mixed_precision: z
    .enum(['no', 'none', 'fp16', 'bf16'])
    .default('no')
    .describe(
      'fp16: products in float16, on devices other than the CPU. bf16, and fp16 elsewhere: float32, with a warning.',
    ),
  allow_tf32: z.boolean().default(true).describe('Accepted so that TRL configurations load; no engine here uses TF32.'),
  // sampling
  sample_num_steps: positive().max(1000).default(50).describe('Denoising steps.'),
  sample_eta: z.number().min(0).max(1).default(1).describe("DDIM's eta: 0 is deterministic, 1 as noisy as DDPM."),
  sample_guidance_scale: z
    .number()
    .min(0)
    .default(5)
    .describe('Classifier-free guidance weight; 1 and below is without guidance.'),
  negative_prompts: z
    .union([z.string(), z.array(z.string()).min(1)])
    .nullable()
    .default(null)
    .describe(
      'Negative prompt, or a list that the samples of the run take in turn. A string is one prompt, commas included.',
    ),
  height: positive()
    .multipleOf(8)
    .nullable()
    .default(null)
    .describe("Image height in pixels, a multiple of 8; the model's own by default."),
  width: positive()
    .multipleOf(8)
    .nullable()
    .default(null)
    .describe("Image width in pixels, a multiple of 8; the model's own by default."),
  // training
  train_batch_size: positive().default(1).describe('Images a micro-batch.'),
  train_gradient_accumulation_steps: positive().default(1).describe('Micro-batches an optimizer step.'),
  train_use_8bit_adam: z
    .boolean()
    .default(false)
    .describe(
      'AdamW with moments of 8 bits, as bitsandbytes: a quarter of the memory; parameters below 4,096 elements keep float32.',
    ),
  train_learning_rate: z.number().positive().default(1e-3).describe('Learning rate of AdamW, at its peak.'),
  train_lr_scheduler: z
    .enum(learningRateSchedules)
    .default('constant')
    .describe("Schedule of the learning rate, by diffusers' names; linear and cosine come down to 0 at num_epochs."),
  train_lr_warmup_steps: z
    .int()
    .min(0)
    .default(0)
    .describe('Steps over which the learning rate rises from 0; the schedule "constant" has none.'),
  train_adam_beta1: chance().default(0.9).describe('Decay of the mean of the gradients.'),
  train_adam_beta2: chance().default(0.999).describe('Decay of the mean of their squares.'),
  train_adam_weight_decay: z.number().min(0).default(1e-4).describe('Decoupled weight decay.'),
  train_adam_epsilon: z.number().positive().default(1e-8).describe('Added to the root of the second moment.'),
  train_max_grad_norm: z.number().positive().default(1).describe('Gradients are scaled down to this global norm.'),
  // estimator
  estimator: z
    .enum(estimators)
    .optional()
    .describe(
      'How the reward\'s gradient is estimated; "refl" and "drtune" are recommended. "per-step" (TRL\'s default, and the default), "fixed", "uniform" and "gaussian" read the options of truncation.',
    ),
  estimator_steps: positive()
    .nullable()
    .default(null)
    .describe(
      'K, the denoising steps that train: of "draft-k" the last K (default 1), of "drtune" K equally spaced ones (default 3).',
    ),
  estimator_copies: positive()
    .nullable()
    .default(null)
    .describe('n of "draft-lv": how often x_0 is noised and denoised again (default 2).'),
  estimator_last: positive()
    .nullable()
    .default(null)
    .describe(
      'm of "refl" and "drtune": the reward judges the x_0 predicted at one of the last m denoising steps (default a quarter of them, and four tenths).',
    ),
  // truncation
  truncated_backprop_rand: z
    .boolean()
    .default(true)
    .describe(
      'At every denoising step i draw an integer of truncated_rand_backprop_minmax; the gradient enters the UNet where i is not below it.',
    ),
  truncated_backprop_timestep: z
    .int()
    .min(0)
    .default(49)
    .describe(
      'With truncated_backprop_rand false: the gradient enters the UNet at denoising steps from this one on; 0 is all of them.',
    ),
  truncated_rand_backprop_minmax: z
    .tuple([z.int().min(0), z.int().min(0)])
    .default([0, 50])
    .describe('Bounds of that draw, both included.'),
  backprop_strategy: z
    .enum(backpropStrategies)
    .optional()
    .describe(
      'The same as estimator. "per-step" and "fixed" are truncated_backprop_rand true and false; "uniform" and "gaussian" draw once a trajectory, with backprop_kwargs.',
    ),
  backprop_kwargs: z
    .strictObject({
      gaussian: z.strictObject({ mean: z.number(), std: z.number().positive() }).default({ mean: 42, std: 5 }),
      uniform: z.strictObject({ min: z.int().min(0), max: z.int().min(1) }).default({ min: 0, max: 50 }),
      fixed: z.strictObject({ value: z.int().min(0) }).optional(),
    })
    .prefault({})
    .describe(
      "Parameters of backprop_strategy: {gaussian: {mean, std}, uniform: {min, max}, fixed: {value}}; uniform's max is excluded, fixed's value defaults to truncated_backprop_timestep.",
    ),
  // guards
  ema_decay: chance()
    .default(0)
    .describe(
      'Decay of a moving average of the trained weights, kept in checkpoints and used for evaluations; approached from below in the first steps. 0 is none.',
    ),
  ema_export: z.boolean().default(false).describe('Write the average of ema_decay, not the last weights, at the end.'),
  kl_weight: z
    .number()
    .min(0)
    .default(0)
    .describe(
      'Weight of a penalty in the loss: the mean squared difference between the predictions with and without the adapter, at attached steps. Costs a call of the UNet at each.',
    ),
  eval_freq: positive()
    .nullable()
    .default(null)
    .describe('Epochs between evaluations on held-out prompts, the first before training; none by default.'),
  eval_images_per_prompt: positive()
    .default(1)
    .describe('Images of each held-out prompt; from 2 on their diversity is reported.'),
  early_stopping_patience: positive()
    .nullable()
    .default(null)
    .describe('Stop after so many evaluations in a row without a higher mean reward; never by default.'),
  on_nonfinite: z
    .enum(['stop', 'skip'])
    .default('stop')
    .describe(
      'When a reward or gradient is NaN or infinite: stop, with a checkpoint of the step before, or skip it with a warning and draw again, until ten in a row are.',
    ),
  // adapter
  use_lora: z.boolean().default(true).describe('Train a LoRA adapter; false trains every weight of the UNet.'),
  train_text_encoder: z
    .boolean()
    .default(false)
    .describe('Train a LoRA adapter of the text encoder besides, on its attention layers, of the same rank.'),
  lora_rank: positive().default(4).describe('Rank of the adapter.'),
  lora_alpha: z.number().positive().default(4).describe('The adapter is scaled by lora_alpha / lora_rank.'),
  lora_target_modules: z
    .array(z.string().min(1))
    .min(1)
    .default(['to_q', 'to_k', 'to_v', 'to_out.0'])
    .describe('Ends of the names of the layers that are adapted.'),
  lora_init: z
    .enum(['gaussian', 'kaiming-uniform'])
    .default('gaussian')
    .describe("Start of the adapter's A (B is 0): normal with standard deviation 1/rank, or uniform in ±1/sqrt(in)."),
};

/**
 * Every option of a run: those of TRL's `AlignPropConfig` by TRL's names and with its defaults, and ours. Snake case;
 * see `parseAlignPropConfig` for camel case. Differences to TRL: `mixed_precision` defaults to 'no', unknown keys are
 * errors, the truncation is checked against `sample_num_steps`, and what is not implemented is refused rather than
 * ignored.
 */
export const alignPropConfigSchema = z.strictObject(fields).superRefine((config, context) => {
  const refuse = (key: keyof typeof fields, message: string) =>
    context.addIssue({ code: 'custom', path: [key], message, input: config[key] });
  if (config.train_text_encoder && !config.use_lora)
    refuse(
      'train_text_encoder',
      'got true, expected false with use_lora false: the text encoder is trained with an adapter alone.',
    );
  if (config.train_lr_warmup_steps > 0 && config.train_lr_scheduler === 'constant')
    refuse(
      'train_lr_warmup_steps',
      `got ${config.train_lr_warmup_steps}, expected 0 with train_lr_scheduler 'constant'. Try 'constant_with_warmup'.`,
    );
  if (config.ema_export && config.ema_decay === 0)
    refuse('ema_export', 'got true, expected false without ema_decay. Set ema_decay, 0.99 for instance.');
  if (config.early_stopping_patience !== null && config.eval_freq === null)
    refuse(
      'early_stopping_patience',
      `got ${config.early_stopping_patience}, expected null without eval_freq. Set eval_freq.`,
    );
  if (config.kl_weight > 0 && (!config.use_lora || config.train_text_encoder))
    refuse(
      'kl_weight',
      `got ${config.kl_weight}, expected 0 without use_lora, and with train_text_encoder: the reference is the UNet without its adapter.`,
    );
  if (config.push_to_hub) refuse('push_to_hub', 'got true, expected false. Uploading is not there yet.');
  const trackerProblem = trackerRefusal(config.log_with);
  if (trackerProblem) refuse('log_with', trackerProblem);
  const accelerator = Object.keys(config.accelerator_kwargs).join(', ');
  if (accelerator) refuse('accelerator_kwargs', `got ${accelerator}, expected {}. Nothing here would read it.`);
  for (const { key, message } of checkBackpropPlan(config)) refuse(key, message);
});

/** A complete configuration, in TRL's spelling. */
export type AlignPropConfig = z.output<typeof alignPropConfigSchema>;

/** An option's name as JavaScript would spell it. */
export type CamelCase<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : S;
type Input = z.input<typeof alignPropConfigSchema>;

/** What the user writes: any of the options, in snake case or in camel case. */
export type AlignPropConfigInput = Input & { readonly [K in keyof Input as CamelCase<K>]?: Input[K] };

/**
 * Fills in the defaults and checks everything.
 * @throws one error with every problem: unknown keys (with the nearest known one), wrong types and ranges, options that
 *   are not implemented, and a truncation that can attach no step
 */
export function parseAlignPropConfig(
  input: AlignPropConfigInput | Readonly<Record<string, unknown>> = {},
): AlignPropConfig {
  return parseOptions('AlignPropConfig', alignPropConfigSchema, Object.keys(fields), input);
}

/** The configuration as JSON Schema (draft 2020-12), for editors. */
export const alignPropJsonSchema = (): object => z.toJSONSchema(alignPropConfigSchema, { io: 'input' });
