import { fileURLToPath } from 'node:url';

/** The small model that comes with this package: 64×64 emoji. From src/ and from dist/ alike. */
export const embeddedModel = {
  name: 'tiny-emoji',
  path: fileURLToPath(new URL('../models/tiny-emoji', import.meta.url)),
  /** Subjects that it draws well. */
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
  /** More of them, to judge by: none is among `prompts`. */
  evalPrompts: ['crab', 'red apple', 'panda face', 'hamburger', 'mushroom', 'tiger face'],
} as const;
