export {
  alignPropConfigSchema,
  alignPropJsonSchema,
  parseAlignPropConfig,
  type AlignPropConfig,
  type AlignPropConfigInput,
} from './config/config.js';
export { modelDefaults } from './config/model-defaults.js';
export type { BlackBoxReward } from '@alignprop/rewards';
export {
  ddpoConfigSchema,
  ddpoJsonSchema,
  parseDDPOConfig,
  type DDPOConfig,
  type DDPOConfigInput,
} from './ddpo/ddpo-config.js';
export { ddpoDryRun, type DDPODryRun, type DDPODryRunInputs } from './ddpo/ddpo-dry-run.js';
export { DDPOTrainer, type DDPOMetrics, type DDPOTrainerOptions } from './ddpo/trainer.js';
export { fixed, gaussian, uniform, type Cut } from './estimators/cuts.js';
export {
  attachProbabilities,
  drawPlan,
  emptyProbability,
  type DrawnPlan,
  type Leap,
  type Plan,
  type PlannedChain,
  type Shown,
  type StepPlan,
} from './estimators/plans.js';
export { backpropPlan } from './estimators/config-plan.js';
export { DirectAlign } from './estimators/direct-align.js';
export { draftLV, full, lastK } from './estimators/draft.js';
export { drTune, drTuneEnd } from './estimators/drtune.js';
export { estimatorNames, type EstimatorName } from './estimators/estimators.js';
export { plannedChain } from './estimators/planned-chain.js';
export { perStep } from './estimators/per-step.js';
export { perTrajectory } from './estimators/per-trajectory.js';
export { FlowBPBridge, type BridgeOptions } from './estimators/flowbp-bridge.js';
export { FlowBPLagrange, type LagrangeOptions } from './estimators/flowbp-lagrange.js';
export { FlowBPSparse, type SparseOptions } from './estimators/flowbp-sparse.js';
export { LeapAlign } from './estimators/leapalign.js';
export { refl, reflEnd } from './estimators/refl.js';
export { encodeExample } from './data/encode-example.js';
export type { DataExample, DataFunction, Dataset } from './data/examples.js';
export { drawExamples, priorExamples, type PriorOptions } from './data/prior-examples.js';
export { pixelDiversity } from './evaluation/diversity.js';
export {
  evaluator,
  type Evaluate,
  type EvaluatedImages,
  type EvaluateOptions,
  type Evaluation,
  type EvaluatorOptions,
} from './evaluation/evaluator.js';
export type { HeldOutOptions } from './evaluation/held-out.js';
export {
  AlignPropGradient,
  type AlignPropGradientOptions,
  type AlignPropGradients,
  type GradientInputs,
} from './gradient/alignprop-gradient.js';
export { ShownImages, type EvaluationSamples } from './evaluation/shown-images.js';
export { NoGradientError } from './gradient/reward-judge.js';
export { NonFiniteError } from './optim/non-finite.js';
export { RewardError } from './ddpo/reward-calls.js';
export type { EvaluationSamplesHook } from './evaluation/evaluations.js';
export type { EvaluatorConfig } from './evaluation/evaluator.js';
export type { Logger } from './logger.js';
export { trainableUNet } from './model/trainable-pipeline.js';
export type { IdentityPart, ManifestParts, RunIdentity, RunManifest } from './run/manifest.js';
export { cardMark, modelCardFile, publishedFiles } from './run/published-files.js';
export { checkRunStart, findManifest, type FoundManifest, type PlannedRun } from './run/run-start.js';
export { dryRun, type DryRun, type DryRunInputs } from './run/dry-run.js';
export { evaluationRecord, metricsRecord, type EvaluationMetrics, type StepMetrics } from './trackers/metrics.js';
export type { PromptFunction } from './step/micro-batch.js';
export type { ImageSamples } from './step/image-samples.js';
export { logEvaluationSamples, logSamples } from './trackers/log-samples.js';
export type { Phase, PhaseTimes } from './trackers/phase-times.js';
export type { Tracker } from './trackers/tracker.js';
export { trainableDora } from './trainable-dora.js';
export { AlignPropTrainer, type AlignPropTrainerOptions } from './trainer.js';
