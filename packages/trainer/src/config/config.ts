import { z } from 'zod';
import type { ModelConfigs } from '@alignprop/diffusion';
import { checkBackpropPlan } from '../estimators/config-plan.js';
import type { Plan } from '../estimators/plans.js';
import { trackerHelp, trackerNames, trackerOptions, trackerOptionsHelp } from '../trackers/create-trackers.js';
import { parseOptions } from './config-keys.js';
import { asInTraining, batch, decay, factor, from0, MAX_STEPS, pixels, positive, seed } from './field-types.js';
import { gradientFields } from './gradient-fields.js';
import { modelDefaults } from './model-defaults.js';
import { refuseShared } from './refusals.js';
import { trainableSchedulers } from './trainable-schedulers.js';
import { learningRateSchedules } from '../optim/learning-rate.js';

const fields = {
  // run
  exp_name: z
    .string()
    .default('alignprop')
    .describe('Name of the experiment; kept in config.json, and the name of a Trackio run that has no other.'),
  run_name: z
    .string()
    .default('')
    .describe('Name of the run. Where output_dir is empty, the run writes to <logdir>/<run_name>.'),
  seed: seed()
    .default(0)
    .describe(
      'Random seed, 0 or more. ' +
        'Adapter, prompts, latents, noise and truncation each draw from a generator of their own.',
    ),
  log_with: z
    .enum(trackerNames)
    .nullable()
    .default(null)
    .describe(`Where metrics go besides metrics.jsonl, which every run with a folder has. ${trackerHelp}.`),
  log_image_freq: positive()
    .default(1)
    .describe('Optimizer steps between two calls of the image samples hook, or between images that trackers get.'),
  tracker_kwargs: trackerOptions.default({}).describe(`Options of each tracker. ${trackerOptionsHelp}.`),
  accelerator_kwargs: z
    .record(z.string(), z.unknown())
    .default({})
    .describe('Options of accelerate. Has to be empty: this package does not use accelerate.'),
  project_kwargs: z
    .strictObject({
      project_dir: z.string().optional(),
      total_limit: positive().optional(),
      automatic_checkpoint_naming: z.literal(true).optional(),
      logging_dir: z.string().optional(),
    })
    .default({})
    .describe(
      'Project options of accelerate: project_dir is used where output_dir is empty, ' +
        'total_limit replaces num_checkpoint_limit, ' +
        'and logging_dir is the parent of the folder of TensorBoard.',
    ),
  tracker_project_name: z.string().default('trl').describe('Name of the project in trackers.'),
  logdir: z.string().default('logs').describe('Parent folder of runs that have a run_name and no output_dir.'),
  output_dir: z
    .string()
    .default('')
    .describe(
      'Folder of the run: config.json, metrics.jsonl, checkpoints/ and pytorch_lora_weights.safetensors. ' +
        'Without it and run_name, nothing is written.',
    ),
  overwrite_output_dir: z
    .boolean()
    .default(false)
    .describe(
      'Move another run in output_dir aside, to <output_dir>.old-1, or the next number that is free. ' +
        'By default training refuses to start there.',
    ),
  num_epochs: positive()
    .default(100)
    .describe('Epochs to train in all, those before a resume included. An epoch is one optimizer step, as in TRL.'),
  save_freq: positive().default(1).describe('Epochs between two checkpoints. The last epoch is always saved.'),
  num_checkpoint_limit: from0()
    .nullable()
    .default(5)
    .describe('Checkpoints to keep; 0 or none keeps all. Older ones are deleted once a newer one is complete.'),
  resume_from: z
    .string()
    .default('')
    .describe(
      'Checkpoint to resume from, or a folder of checkpoints, of which the newest is taken. ' +
        'output_dir may be given before it has a checkpoint: the run then starts from the beginning.',
    ),
  push_to_hub: z
    .boolean()
    .default(false)
    .describe(
      'Upload the run to the Hugging Face hub after training, as the command does to --hub-model-id; ' +
        'kept in config.json. In a program, call pushToHub of the trainer.',
    ),
  // numbers
  mixed_precision: z
    .enum(['no', 'none', 'fp16', 'bf16'])
    .default('no')
    .describe(
      'Precision of matrix products. fp16: float16 on devices other than the CPU, and on --backend tensorflow. ' +
        'bf16: bfloat16 on --backend tensorflow. Elsewhere: float32, with a warning.',
    ),
  allow_tf32: z.boolean().default(true).describe('Accepted so that TRL configurations load. No engine here uses TF32.'),
  // sampling
  scheduler: z
    .enum(trainableSchedulers)
    .default('ddim')
    .describe(
      "Scheduler of the denoising chain, whose steps are differentiated; config is the model's own. " +
        'By default that of TRL, ddim, with the noise schedule of the model; few-step models keep their own.',
    ),
  sample_num_steps: positive(MAX_STEPS).default(50).describe('Denoising steps of each image, 1 to 1000.'),
  sample_eta: z
    .number()
    .min(0)
    .max(1)
    .default(1)
    .describe("DDIM's eta, 0 to 1: the noise added at each denoising step. 0 is deterministic, 1 is as noisy as DDPM."),
  sample_guidance_scale: factor()
    .min(0)
    .default(5)
    .describe('Weight of classifier-free guidance. 1 or less turns guidance off.'),
  guidance_interval: z
    .tuple([z.number().min(0).max(1), z.number().min(0).max(1)])
    .nullable()
    .default(null)
    .describe(
      'The part of the denoising chain that is guided, as two fractions of its steps, such as 0.2,0.8 ' +
        '(arXiv 2404.07724); the other steps call the UNet for the prompt alone, at half the cost. ' +
        'By default the whole chain. Evaluations have it too.',
    ),
  negative_prompts: z
    .union([z.string(), z.array(z.string()).min(1)])
    .nullable()
    .default(null)
    .describe(
      'Negative prompt, or a list from which images take one each in turn. A string is one prompt, commas included.',
    ),
  clip_skip: from0(100)
    .default(0)
    .describe('Last layers of the text encoder that prompts are encoded without, as "Clip skip" of A1111 less 1.'),
  long_prompts: z
    .boolean()
    .default(false)
    .describe('Encode prompts of more than 75 tokens in chunks of 75. By default they are cut off.'),
  height: pixels()
    .nullable()
    .default(null)
    .describe('Height of the images in pixels, a multiple of 8. By default that of the model.'),
  width: pixels()
    .nullable()
    .default(null)
    .describe('Width of the images in pixels, a multiple of 8. By default that of the model.'),
  // training
  train_batch_size: batch().default(1).describe('Images per micro-batch and process.'),
  train_gradient_accumulation_steps: positive()
    .default(1)
    .describe('Micro-batches per optimizer step; their gradients are averaged.'),
  train_use_8bit_adam: z
    .boolean()
    .default(false)
    .describe(
      'AdamW with 8-bit moments, as in bitsandbytes: a quarter of the memory. ' +
        'Parameters with fewer than 4,096 elements keep float32 moments.',
    ),
  train_learning_rate: factor()
    .positive()
    .default(1e-3)
    .describe('Learning rate of AdamW; with a schedule, its maximum.'),
  train_lr_scheduler: z
    .enum(learningRateSchedules)
    .default('constant')
    .describe('Learning rate schedule, named as in diffusers. linear and cosine decay to 0 at num_epochs.'),
  train_lr_warmup_steps: from0()
    .default(0)
    .describe(
      'Optimizer steps over which the learning rate rises linearly from 0. Has to be 0 for the schedule "constant".',
    ),
  train_adam_beta1: decay()
    .default(0.9)
    .describe("AdamW's beta1, 0 to below 1: decay rate of the mean of the gradients."),
  train_adam_beta2: decay()
    .default(0.999)
    .describe("AdamW's beta2, 0 to below 1: decay rate of the mean of the squared gradients."),
  train_adam_weight_decay: factor().min(0).default(1e-4).describe("AdamW's decoupled weight decay, 0 or more."),
  train_adam_epsilon: factor()
    .positive()
    .default(1e-8)
    .describe("AdamW's epsilon, above 0, added to the square root of the second moment."),
  train_max_grad_norm: factor()
    .positive()
    .default(1)
    .describe('Largest L2 norm of all gradients together. Gradients beyond it are scaled down to it.'),
  ...gradientFields,
  // guards
  ema_decay: decay()
    .default(0)
    .describe(
      'Decay of a moving average of the trained weights, 0 to below 1, smaller in the first steps. ' +
        'The average is kept in checkpoints and used for evaluations. 0 turns it off.',
    ),
  ema_export: z.boolean().default(false).describe('Write the average of ema_decay at the end, not the last weights.'),
  kl_weight: factor()
    .min(0)
    .default(0)
    .describe(
      'Weight of a penalty in the loss, 0 or more: the mean squared difference between the predictions ' +
        'with and without the adapter at attached steps. Costs a forward call of the UNet at each of them.',
    ),
  norm_weight: factor()
    .min(0)
    .default(0)
    .describe(
      'Weight of a penalty in the loss, 0 or more: how much longer (root mean square) predictions are than without ' +
        'the adapter, at attached steps (NormGuard, arXiv 2606.27771). Costs what kl_weight costs, once for both.',
    ),
  reward_perturbation: factor()
    .min(0)
    .default(0)
    .describe(
      'ρ of RSA-FT (arXiv 2603.21175): takes the gradient of the reward at images moved by this L2 distance towards ' +
        'a lower reward, so that narrow peaks of the reward are not climbed. Costs a second call of the reward. ' +
        '0 turns it off.',
    ),
  weight_perturbation: factor()
    .min(0)
    .default(0)
    .describe(
      'ρ of sharpness-aware minimisation (arXiv 2010.01412), the part of RSA-FT for weights: follows the gradient ' +
        'at weights moved by this L2 distance towards a higher loss. Takes each step twice, with the same draws. ' +
        '0 turns it off.',
    ),
  data_weight: factor()
    .min(0)
    .default(0)
    .describe(
      'Weight of the diffusion loss of pictures with captions in the loss, 0 or more: keeps the model able to draw ' +
        'what it is not rewarded for. Costs a call of the UNet with its gradient for each micro-batch.',
    ),
  data_batch_size: batch().default(1).describe('Pictures of the diffusion loss per micro-batch and process.'),
  data_caption_dropout: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe(
      'Probability, 0 to 1, with which the diffusion loss takes the empty prompt in place of a caption, so that ' +
        'guidance keeps its unconditional half; 0.1 is usual.',
    ),
  eval_freq: positive()
    .nullable()
    .default(null)
    .describe(
      'Epochs between evaluations on held-out prompts; the first is before training. By default there are none.',
    ),
  eval_images_per_prompt: batch()
    .default(1)
    .describe('Images of each held-out prompt. With 2 or more, their diversity is reported.'),
  eval_num_steps: asInTraining(positive(MAX_STEPS), 'Denoising steps of held-out images, 1 to 1000.'),
  eval_eta: asInTraining(z.number().min(0).max(1), "DDIM's eta of held-out images, 0 to 1."),
  eval_guidance_scale: asInTraining(factor().min(0), 'Weight of classifier-free guidance of held-out images.'),
  eval_negative_prompts: asInTraining(
    z.union([z.string(), z.array(z.string()).min(1)]),
    'Negative prompt of held-out images, or a list from which the held-out prompts take one each in turn.',
  ),
  eval_height: asInTraining(pixels(), 'Height of held-out images in pixels, a multiple of 8.'),
  eval_width: asInTraining(pixels(), 'Width of held-out images in pixels, a multiple of 8.'),
  eval_seed: asInTraining(seed(), 'Seed of the noise of held-out images.'),
  early_stopping_patience: positive()
    .nullable()
    .default(null)
    .describe('Stop after this many evaluations in a row without a higher mean reward. By default never.'),
  on_collapse: z
    .enum(['ignore', 'warn', 'stop'])
    .default('ignore')
    .describe(
      'When pictures of held-out prompts collapse, in diversity or in how many the model without its adapter ' +
        'recognises, to half of what they had before training: warn, or stop as well. Either way such an evaluation ' +
        'is never the best. Needs eval_images_per_prompt of 2 or more.',
    ),
  on_nonfinite: z
    .enum(['stop', 'skip'])
    .default('stop')
    .describe(
      'When a reward or gradient is NaN or infinite: stop, with a checkpoint of the step before, ' +
        'or skip: warn and draw the step again, and stop after ten in a row.',
    ),
  // adapter
  use_lora: z.boolean().default(true).describe('Train a LoRA adapter. false trains all weights of the UNet.'),
  train_text_encoder: z
    .boolean()
    .default(false)
    .describe(
      'Also train a LoRA adapter of the same rank in the attention layers of the text encoder, of SDXL in both.',
    ),
  lora_kind: z
    .enum(['lora', 'dora'])
    .default('lora')
    .describe(
      'Kind of the adapter. dora (arXiv 2402.09353) also learns the length of every row of the adapted weights. ' +
        'It starts from their values, so that AlignPropTrainer takes `await trainableDora(pipeline, config)`.',
    ),
  lora_rank: positive(4096).default(4).describe('Rank of the adapter.'),
  lora_alpha: factor().positive().default(4).describe('Scales the adapter by lora_alpha / lora_rank.'),
  lora_target_modules: z
    .array(z.string().min(1))
    .min(1)
    .default(['to_q', 'to_k', 'to_v', 'to_out.0'])
    .describe('Linear layers and convolutions to adapt: those whose names end with one of these.'),
  lora_init: z
    .enum(['gaussian', 'kaiming-uniform'])
    .default('gaussian')
    .describe(
      'Initial values of A (those of B are 0): normal with standard deviation 1/rank, or uniform in ±1/sqrt(inputs).',
    ),
};

/** The options with all checks but that of the plan, which a trainer's own plan replaces. */
const configWithAnyPlan = z.strictObject(fields).superRefine((config, context) => {
  const refuse = (key: keyof typeof fields, message: string) =>
    context.addIssue({ code: 'custom', path: [key], message, input: config[key] });
  if (config.train_text_encoder && !config.use_lora)
    refuse(
      'train_text_encoder',
      'got true, expected false with use_lora false: the text encoder is trained by an adapter only.',
    );
  for (const key of ['kl_weight', 'norm_weight'] as const) {
    if (config[key] === 0 || (config.use_lora && !config.train_text_encoder)) continue;
    refuse(
      key,
      `got ${config[key]}, expected 0 without use_lora, and with train_text_encoder: ` +
        'the reference is the UNet without its adapter.',
    );
  }
  const { guidance_interval: interval, cfg_gradient: cfgGradient } = config;
  if (interval && interval[0] > interval[1])
    refuse('guidance_interval', `got [${interval.join(', ')}], expected first <= end. Try [0.2, 0.8].`);
  if (cfgGradient === 'both' && config.cfg_gradient_compensation !== 'none')
    refuse(
      'cfg_gradient_compensation',
      `got '${config.cfg_gradient_compensation}' with cfg_gradient 'both'. Set cfg_gradient to 'conditional'.`,
    );
  if (config.reuse_features === 1 && config.reuse_features_block !== null)
    refuse(
      'reuse_features_block',
      `got ${config.reuse_features_block} with reuse_features 1, which reuses none. Set reuse_features to 2 or more.`,
    );
  refuseShared(config, refuse);
});

/**
 * The options of a run, in snake case: those of TRL's `AlignPropConfig`, with TRL's names and defaults, and our own.
 * Differences from TRL: `mixed_precision` defaults to 'no', unknown keys are errors, the truncation is checked against
 * `sample_num_steps`, and options that are not implemented are refused rather than ignored.
 */
export const alignPropConfigSchema = configWithAnyPlan.superRefine((config, context) => {
  // Values out of range do not get there: it takes memory for each step.
  if (context.issues.some(({ code }) => code !== 'custom')) return;
  for (const { key, message } of checkBackpropPlan(config))
    context.addIssue({ code: 'custom', path: [key], message, input: config[key] });
});

/** A complete configuration, in snake case as in TRL. */
export type AlignPropConfig = z.output<typeof alignPropConfigSchema>;

/** The name of an option in camel case. */
export type CamelCase<S extends string> = S extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : S;
type Input = z.input<typeof alignPropConfigSchema>;

/** Any of the options, in snake case or in camel case. */
export type AlignPropConfigInput = Input & { readonly [K in keyof Input as CamelCase<K>]?: Input[K] };

/**
 * Fills in the defaults and checks the configuration.
 * @param model the model to train: few-step models have defaults of their own, see `modelDefaults`
 * @param plan replaces the plan that the options describe, which is then not checked
 * @throws one error that lists every problem: unknown keys (with the nearest known one), wrong types, values out of
 *   range, options that are not implemented, and a truncation that attaches no step in most trajectories
 */
export function parseAlignPropConfig(
  input: AlignPropConfigInput | Readonly<Record<string, unknown>> = {},
  model?: ModelConfigs,
  plan?: Plan,
): AlignPropConfig {
  const schema = plan ? configWithAnyPlan : alignPropConfigSchema;
  const defaults = model && ((given: Readonly<Record<string, unknown>>) => modelDefaults(model, given));
  return parseOptions('AlignPropConfig', schema, Object.keys(fields), input, defaults);
}

/** The configuration as JSON Schema (draft 2020-12), for editors. */
export const alignPropJsonSchema = (): object => z.toJSONSchema(alignPropConfigSchema, { io: 'input' });
