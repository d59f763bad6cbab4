import { fileURLToPath } from 'node:url';

const pathOf = (name: string) => fileURLToPath(new URL(`../models/${name}`, import.meta.url));

/**
 * The small model that is part of this package; it draws 64×64 emoji. Its path is relative to this module and holds in
 * src/ and in dist/, so this file must stay at the top of src/.
 */
export const embeddedModel = {
  name: 'tiny-emoji',
  license: 'apache-2.0',
  path: pathOf('tiny-emoji'),
  /** Subjects that it draws well, to train on. */
  prompts: [
    'sunflower',
    'frog',
    'dog face',
    'tropical fish',
    'cherries',
    'grapes',
    'lemon',
    'banana',
    'tangerine',
    'pig face',
    'cow face',
    'rabbit face',
    'cat face',
    'rose',
    'tulip',
    'cactus',
    'maple leaf',
    'carrot',
    'tomato',
    'avocado',
    'doughnut',
    'cookie',
    'bread',
    'egg',
    'cheese wedge',
    'lobster',
  ],
  /** Held-out subjects for evaluation; none is in `prompts`. */
  evalPrompts: ['crab', 'red apple', 'panda face', 'hamburger', 'mushroom', 'tiger face'],
} as const;

/**
 * Two images a step, with the last two of ten denoising steps attached: the reward rises within two minutes on two
 * cores, and the images keep their subjects. At twice this learning rate they fade to white, which compresses best.
 */
export const demoSteps = {
  train_batch_size: 2,
  train_learning_rate: 1.3e-3,
  sample_num_steps: 10,
  sample_guidance_scale: 4,
  sample_eta: 0,
  truncated_backprop_rand: false,
  truncated_backprop_timestep: 8,
} as const;

/** The tiny decoder of the embedded model, for `--reward-decoder`. */
export const embeddedDecoder = { name: 'tiny-emoji-decoder', path: pathOf('tiny-emoji-decoder') } as const;

/** The adapter that draws with the embedded model in four steps without guidance, for `--lora`. */
export const embeddedAdapter = { name: 'tiny-emoji-tcd', path: pathOf('tiny-emoji-tcd') } as const;
