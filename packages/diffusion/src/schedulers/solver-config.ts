import { betaChecks, betaDefaults, type BetaConfig } from './betas.js';
import type { OrderConfig } from './multistep-order.js';
import {
  predictionTypes,
  thresholdChecks,
  thresholdDefaults,
  type PredictionType,
  type ThresholdConfig,
} from './prediction.js';
import type { FieldChecks } from './scheduler-config.js';
import { sigmaDefaults, type SigmaConfig } from './sigmas.js';

/** The options that DPM-Solver, DEIS and UniPC share, under diffusers' names in `scheduler_config.json`. */
export type SolverConfig = BetaConfig &
  SigmaConfig &
  ThresholdConfig &
  OrderConfig & {
    solver_order: 1 | 2 | 3;
    prediction_type: PredictionType;
    /** Noise levels of flow models are not supported. */
    use_flow_sigmas: boolean;
    use_dynamic_shifting: boolean;
  };

export const solverDefaults: SolverConfig = {
  ...betaDefaults,
  ...sigmaDefaults,
  ...thresholdDefaults,
  solver_order: 2,
  lower_order_final: true,
  prediction_type: 'epsilon',
  use_flow_sigmas: false,
  use_dynamic_shifting: false,
};

export const solverChecks = {
  ...betaChecks,
  ...thresholdChecks,
  solver_order: [1, 2, 3],
  prediction_type: predictionTypes,
  use_flow_sigmas: [false],
  use_dynamic_shifting: [false],
} as const satisfies FieldChecks<SolverConfig>;
