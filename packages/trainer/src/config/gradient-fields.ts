import { z } from 'zod';
import { imageSources } from '../estimators/estimator.js';
import { backpropStrategies, estimatorNames } from '../estimators/estimators.js';
import { factor, from0, MAX_DRAWN, MAX_STEPS, pixels, positive } from './field-types.js';

/** The options of AlignProp that say how the gradient of the reward is estimated, and what makes it cheaper. */
export const gradientFields = {
  // estimator
  estimator: z
    .enum(estimatorNames)
    .optional()
    .describe(
      'How the gradient of the reward is estimated. "refl" and "drtune" are recommended; ' +
        'the default is "per-step", as in TRL. ' +
        '"per-step", "fixed", "uniform" and "gaussian" read the options of truncation.',
    ),
  estimator_steps: positive(MAX_STEPS)
    .nullable()
    .default(null)
    .describe(
      'K, the number of denoising steps that train: the last K for "draft-k" (default 1), equally spaced ones for ' +
        '"drtune" and "drtune-end" (3), drawn ones for "flowbp-sparse" (4) and "flowbp-bridge" (5).',
    ),
  estimator_copies: positive(MAX_STEPS)
    .nullable()
    .default(null)
    .describe('n of "draft-lv": how many times x_0 is noised again and denoised (default 2).'),
  estimator_last: positive(MAX_STEPS)
    .nullable()
    .default(null)
    .describe(
      'm: "refl", "refl-end", "drtune", "drtune-end" and "direct-align" train up to one of the last m denoising ' +
        'steps, where "refl" and "drtune" show the reward the x_0 predicted there. "flowbp-lagrange" leaps to one of ' +
        'them. By default a quarter of the steps for "refl" and "refl-end", all for "direct-align", ' +
        'four tenths for the others.',
    ),
  estimator_late_bias: factor()
    .min(0)
    .max(16)
    .nullable()
    .default(null)
    .describe(
      'The power with which "flowbp-sparse" (default 1) and "flowbp-bridge" (4) prefer later denoising steps; ' +
        '0 draws all alike.',
    ),
  estimator_rescale: factor()
    .min(0)
    .max(1)
    .nullable()
    .default(null)
    .describe(
      'γ of "flowbp-sparse" (default 0.5) and "flowbp-bridge" (0): how far the weights of the steps that train ' +
        'make up for those that do not.',
    ),
  estimator_coupling: factor()
    .min(0)
    .nullable()
    .default(null)
    .describe(
      "α: the share of the gradient that passes through the UNet's input between the two halves of the chain, in " +
        '"flowbp-bridge" (default 0.5), "flowbp-lagrange" (0.1) and "leapalign" (0.3).',
    ),
  estimator_order: positive(8)
    .nullable()
    .default(null)
    .describe('How many predictions a leap of "flowbp-lagrange" is interpolated from (default 3).'),
  estimator_floor: factor()
    .positive()
    .nullable()
    .default(null)
    .describe(
      'τ of "flowbp-lagrange" (default 0.2) and "leapalign" (0.1): images whose leaps miss the chain by more ' +
        'count less.',
    ),
  estimator_images: z
    .enum(imageSources)
    .default('chain')
    .describe(
      'The images that "direct-align" noises: those at the end of its own chain, or those of the dataset, whose ' +
        'captions are the prompts. Then no chain is denoised, and a step costs one call of the UNet with its gradient.',
    ),
  // cheaper gradients
  cfg_gradient: z
    .enum(['both', 'conditional'])
    .default('both')
    .describe(
      'Branches of classifier-free guidance that have a gradient. "conditional" halves the UNet\'s part of it, ' +
        'but is another gradient: the branches nearly cancel, so it is larger and has another direction.',
    ),
  cfg_gradient_compensation: z
    .enum(['none', 'loss', 'step'])
    .default('none')
    .describe(
      'With cfg_gradient "conditional", what is divided by the guidance scale: the whole gradient ("loss"), that of ' +
        'kl_weight and norm_weight included, or what passes through each denoising step ("step").',
    ),
  reuse_features: positive(MAX_STEPS)
    .default(1)
    .describe(
      'N: of the denoising steps that get no gradient only every Nth runs the whole UNet, ' +
        'the others its shallow part with the deep features of the step before (DeepCache, arXiv 2312.00858). ' +
        'Changes the images a little.',
    ),
  reuse_features_block: from0(16)
    .nullable()
    .default(null)
    .describe(
      'Index of the up block whose output reuse_features keeps: 0 keeps the least and changes the images least. ' +
        'By default the one before the last, which saves most.',
    ),
  reward_crop: pixels()
    .nullable()
    .default(null)
    .describe(
      'Side in pixels of a square, drawn anew for each micro-batch, that alone is decoded and shown to the reward: ' +
        'a cheap gradient for rewards of looks and textures, and a wrong one for those that need the whole image. ' +
        'Evaluations judge whole images.',
    ),
  // truncation
  truncated_backprop_rand: z
    .boolean()
    .default(true)
    .describe(
      'Truncate at random: each denoising step i draws an integer of truncated_rand_backprop_minmax, ' +
        'and the gradient enters the UNet there if i is not below it. false truncates at truncated_backprop_timestep.',
    ),
  truncated_backprop_timestep: from0(MAX_DRAWN)
    .default(49)
    .describe(
      'With truncated_backprop_rand false, the first denoising step at which the gradient enters the UNet, ' +
        'counted from 0. 0 is all steps.',
    ),
  truncated_rand_backprop_minmax: z
    .tuple([from0(MAX_DRAWN), from0(MAX_DRAWN)])
    .default([0, 50])
    .describe('Smallest and largest integer that truncated_backprop_rand draws, both included.'),
  backprop_strategy: z
    .enum(backpropStrategies)
    .optional()
    .describe(
      'Another name for estimator. "per-step" and "fixed" are truncated_backprop_rand true and false; ' +
        '"uniform" and "gaussian" draw one truncation for each trajectory, with backprop_kwargs.',
    ),
  backprop_kwargs: z
    .strictObject({
      gaussian: z.strictObject({ mean: factor().min(-1e9), std: factor().positive() }).default({ mean: 42, std: 5 }),
      uniform: z.strictObject({ min: from0(MAX_DRAWN), max: positive(MAX_DRAWN) }).default({ min: 0, max: 50 }),
      fixed: z.strictObject({ value: from0(MAX_DRAWN) }).optional(),
    })
    .prefault({})
    .describe(
      'Parameters of truncations: {gaussian: {mean, std}, uniform: {min, max}, fixed: {value}}. ' +
        'The max of uniform is excluded; the value of fixed is truncated_backprop_timestep by default.',
    ),
};
