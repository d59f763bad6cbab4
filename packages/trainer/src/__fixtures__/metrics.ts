import type { StepMetrics } from '../trackers/metrics.js';

/** Metrics of a step, with plausible values. */
export const stepMetrics = (globalStep: number, others: Partial<StepMetrics> = {}): StepMetrics => ({
  epoch: globalStep,
  globalStep,
  rewardMean: 1.5,
  rewardStd: 0.5,
  rewardTerms: {},
  loss: -1.5,
  gradNorm: 2,
  learningRate: 1e-3,
  seconds: 1,
  ...others,
});
