import { useBackend, type BackendName } from '@alignprop/autograd-ext';
import { MobileNetV2Model } from 'nsfwjs/models/mobilenet_v2';
import { beforeAll, describe, it } from 'vitest';
import {
  emotion,
  emotionLogits,
  tinyAesthetic,
  tinyClip,
  tinyDetector,
  tinyHps,
  tinyImageReward,
} from './__fixtures__/tiny-models.js';
import * as api from './index.js';
import type { ModelReward } from './reward.js';
import { testReward, type TestRewardOptions } from './testing/index.js';

type Create = () => ModelReward | Promise<ModelReward>;
type Case = readonly [create: Create, options: TestRewardOptions, backends?: readonly BackendName[]];

/** The exports that create a reward from options. The excluded functions take a reward, or its parts. */
type RewardName = Exclude<
  { [Name in keyof typeof api]: (typeof api)[Name] extends Factory ? Name : never }[keyof typeof api],
  'defineReward' | 'loadReward' | 'negated' | 'normalised' | 'weightedSum'
>;
type Factory = (options: never) => ModelReward | Promise<ModelReward>;

const similarity = { range: [-1, 1], entries: 24 } as const;
const detection: TestRewardOptions = {
  size: [20, 27],
  otherSizes: [
    [33, 17],
    [40, 3],
    [1, 1],
  ],
  range: [0, 1],
  entries: 12,
};
// Longer steps leave the range where differences are quadratic, shorter ones are lost in rounding.
const jpeg = { size: [16, 18], step: 4e-3, tolerance: 2e-2, entries: 12 } as const;
const fast = ['wasm'] as const;
const everywhere = [...fast, 'cpu'] as const;

/** The arguments of `testReward` for each variant of each reward. A reward without an entry is a type error. */
const cases: Readonly<Record<RewardName, Readonly<Record<string, Case>>>> = {
  aesthetic: {
    '': [() => api.aesthetic(tinyAesthetic), { range: [-12.76, 23.24], entries: 24 }],
  },
  clipScore: {
    cosine: [() => api.clipScore({ ...tinyClip, form: 'cosine' }), similarity],
    paper: [() => api.clipScore({ ...tinyClip, form: 'paper' }), { ...similarity, range: [0, 2.5] }],
    percent: [() => api.clipScore({ ...tinyClip, form: 'percent' }), { ...similarity, range: [0, 100] }],
  },
  pickScore: {
    '': [() => api.pickScore(tinyClip), { range: [-100, 100], scale: 1, entries: 24 }],
  },
  hpsV2: {
    bilinear: [() => api.hpsV2({ ...tinyHps, mode: 'bilinear' }), { range: [-1, 1], entries: 12 }],
    bicubic: [() => api.hpsV2({ ...tinyHps, mode: 'bicubic' }), { range: [-1, 1], entries: 12 }],
  },
  imageReward: {
    '': [
      () => api.imageReward(tinyImageReward),
      {
        size: [24, 31],
        otherSizes: [
          [33, 17],
          [9, 30],
          [1, 1],
        ],
        prompts: ['a cat', 'the moon over a red house', ''],
        entries: 12,
      },
    ],
  },
  objectDetection: {
    absent: [() => api.objectDetection({ ...tinyDetector, goal: 'absent', threshold: 0, height: 32 }), detection],
    present: [() => api.objectDetection({ ...tinyDetector, goal: 'present', threshold: 0, height: 32 }), detection],
  },
  graphModel: {
    emotion: [
      () => api.graphModel({ ...emotion, output: emotionLogits }),
      {
        size: [48, 40],
        otherSizes: [
          [1, 1],
          [70, 90],
        ],
        entries: 8,
        step: 4e-3,
        tolerance: 1e-2,
      },
    ],
  },
  nsfwSafety: {
    '': [
      () => api.nsfwSafety({ model: MobileNetV2Model }),
      { size: [20, 24], otherSizes: [[1, 1]], range: [0, 1], entries: 1 },
    ],
  },
  jpegCompressibility: {
    'quality 95': [() => api.jpegCompressibility(), { ...jpeg, range: [-Infinity, -0.629] }, everywhere],
    'quality 50': [() => api.jpegCompressibility({ quality: 50 }), { ...jpeg, range: [-Infinity, -0.629] }, everywhere],
  },
  jpegIncompressibility: {
    '': [() => api.jpegIncompressibility(), { ...jpeg, range: [0.629, Infinity] }, everywhere],
  },
};

const rows = Object.entries(cases).flatMap(([reward, variants]) =>
  Object.entries(variants).map(([variant, [create, options, backends = fast]]) => ({
    name: variant ? `${reward} (${variant})` : reward,
    create,
    options,
    backends,
  })),
);

describe.each(['wasm', 'cpu'] as const)('the contract of rewards on %s', (backend) => {
  beforeAll(() => useBackend(backend));

  it.each(rows.filter(({ backends }) => backends.includes(backend)))('holds for $name', async ({ create, options }) => {
    const reward = await create();
    await testReward(reward, options);
    reward.dispose();
  });
});
