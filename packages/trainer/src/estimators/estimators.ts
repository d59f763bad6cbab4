import { directAlignEstimator } from './direct-align.js';
import { draftKEstimator, draftLVEstimator, fullEstimator } from './draft.js';
import { drTuneEndEstimator, drTuneEstimator } from './drtune.js';
import type { Estimator } from './estimator.js';
import { bridgeEstimator } from './flowbp-bridge.js';
import { lagrangeEstimator } from './flowbp-lagrange.js';
import { sparseEstimator } from './flowbp-sparse.js';
import { leapAlignEstimator } from './leapalign.js';
import { perStepEstimator } from './per-step.js';
import { fixedEstimator, gaussianEstimator, uniformEstimator } from './per-trajectory.js';
import { reflEndEstimator, reflEstimator } from './refl.js';

/** The values of `backprop_strategy`, by the names that the AlignProp authors' code has for them. */
export const backpropStrategies = ['per-step', 'fixed', 'uniform', 'gaussian'] as const;

/** All estimators by their names in a configuration. A new one is a file and a line here. */
export const estimators = {
  'per-step': perStepEstimator,
  fixed: fixedEstimator,
  uniform: uniformEstimator,
  gaussian: gaussianEstimator,
  full: fullEstimator,
  'draft-k': draftKEstimator,
  'draft-lv': draftLVEstimator,
  refl: reflEstimator,
  'refl-end': reflEndEstimator,
  drtune: drTuneEstimator,
  'drtune-end': drTuneEndEstimator,
  'direct-align': directAlignEstimator,
  'flowbp-sparse': sparseEstimator,
  'flowbp-bridge': bridgeEstimator,
  'flowbp-lagrange': lagrangeEstimator,
  leapalign: leapAlignEstimator,
} as const satisfies Readonly<Record<string, Estimator>>;

export type EstimatorName = keyof typeof estimators;

export const estimatorNames = Object.keys(estimators) as readonly EstimatorName[];
