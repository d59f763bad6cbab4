import type { Tensor4D } from '@tensorflow/tfjs-core';
import type { EvaluationMetrics, StepMetrics } from '../step/metrics.js';

/** Takes what training reports. A tracker for a new service is this and nothing else. */
export interface Tracker {
  log(metrics: StepMetrics): void | Promise<void>;
  /** Told of every evaluation on held-out prompts (`eval_freq`). */
  logEvaluation?(metrics: EvaluationMetrics): void | Promise<void>;
  /** `images` is `[B, H, W, 3]` in [0, 1] and stays the caller's. */
  logImages?(images: Tensor4D, captions: readonly string[], globalStep: number): void | Promise<void>;
  close(): void | Promise<void>;
}

/** All trackers as one, told in order; with none, what is told goes nowhere. */
export function allTrackers(trackers: readonly Tracker[]): Tracker {
  return {
    async log(metrics) {
      for (const tracker of trackers) await tracker.log(metrics);
    },
    async logEvaluation(metrics) {
      for (const tracker of trackers) await tracker.logEvaluation?.(metrics);
    },
    async logImages(images, captions, globalStep) {
      for (const tracker of trackers) await tracker.logImages?.(images, captions, globalStep);
    },
    async close() {
      for (const tracker of trackers) await tracker.close();
    },
  };
}
