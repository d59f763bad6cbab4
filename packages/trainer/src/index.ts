export { accumulate, walkUp, type Chain, type ChainGradients, type Trajectory } from './gradient/walk-up.js';
export { acrossProcesses, ReportedByRankZero } from './collective/across-processes.js';
export { singleProcess, type Collective } from './collective/collective.js';
export { exchange, shared } from './collective/exchange.js';
export { launched, type Launched } from './collective/launcher.js';
export { openMpi, type OpenMpiOptions } from './collective/open-mpi.js';
export { findCheckpoint, readCheckpoint, type Checkpoint, type TrainingState } from './run/checkpoints.js';
export {
  alignPropConfigSchema,
  alignPropJsonSchema,
  parseAlignPropConfig,
  type AlignPropConfig,
  type AlignPropConfigInput,
} from './config/config.js';
export { backpropPlan, type BackpropOptions, type BackpropStrategy, type Estimator } from './estimators/config-plan.js';
export type { BlackBoxReward } from './ddpo/black-box-reward.js';
export { ddpoConfigSchema, parseDDPOConfig, type DDPOConfig, type DDPOConfigInput } from './ddpo/ddpo-config.js';
export { DDPOTrainer, type DDPOMetrics, type DDPOTrainerOptions } from './ddpo/trainer.js';
export { dryRun, type DryRun, type DryRunInputs } from './run/dry-run.js';
export {
  evaluator,
  type Evaluate,
  type EvaluateOptions,
  type Evaluation,
  type EvaluatorOptions,
} from './evaluation/evaluator.js';
export { pixelDiversity } from './evaluation/diversity.js';
export { fixed, gaussian, uniform, type Cut } from './estimators/cuts.js';
export {
  alignPropGradients,
  type AlignPropGradients,
  type GradientFunction,
  type GradientInputs,
} from './gradient/alignprop-gradients.js';
export type { HeldOutOptions } from './evaluation/held-out.js';
export type { Logger } from './logger.js';
export { evaluationRecord, metricsRecord, type EvaluationMetrics, type StepMetrics } from './step/metrics.js';
export type { PromptFunction } from './step/micro-batch.js';
export { NonFiniteError } from './gradient/non-finite.js';
export { AdamW, updateAdamW, type AdamWOptions, type AdamWState } from './optim/adamw.js';
export { AdamW8bit, type AdamW8bitOptions } from './optim/adamw-8bit.js';
export { clipByGlobalNorm, globalNorm, type Gradients } from './optim/clip-by-global-norm.js';
export {
  learningRate,
  learningRateSchedules,
  type LearningRateOptions,
  type LearningRateSchedule,
} from './optim/learning-rate.js';
export type { Optimizer } from './optim/optimizer.js';
export {
  attachProbabilities,
  draftLV,
  drawPlan,
  drTune,
  emptyProbability,
  full,
  lastK,
  perStep,
  perTrajectory,
  refl,
  type Attachment,
  type DrawnPlan,
  type Plan,
  type Shown,
  type StepPlan,
} from './estimators/plans.js';
export { trainableUNet } from './model/prepare-pipeline.js';
export type { ImageSamples } from './step/step-collector.js';
export { jsonlTracker } from './trackers/jsonl.js';
export { logSamples } from './trackers/log-samples.js';
export { tensorboardTracker, type TensorBoardOptions } from './trackers/tensorboard.js';
export { allTrackers, type Tracker } from './trackers/tracker.js';
export { trackioTracker, type TrackioOptions } from './trackers/trackio.js';
export type { TrainedWeights } from './model/trained-weights.js';
export { AlignPropTrainer, type AlignPropTrainerOptions } from './trainer.js';
export { WeightsAverage } from './model/weights-average.js';
export type { SamplingOptions, WalkInputs } from './gradient/walk-down.js';
