import type { Tensor4D } from '@tensorflow/tfjs-core';
import type { EvaluationMetrics, StepMetrics } from './metrics.js';

/** The prompts and rewards of logged images, one for each. */
export interface SampleDetails {
  readonly prompts: readonly string[];
  readonly rewards: readonly number[];
}

/** Receives what training reports. */
export interface Tracker {
  /** Called after every optimizer step. */
  log(metrics: StepMetrics): void | Promise<void>;
  /** Called after every evaluation on held-out prompts (`eval_freq`). */
  logEvaluation?(metrics: EvaluationMetrics): void | Promise<void>;
  /**
   * Called every `log_image_freq` steps. The images, `[B, H, W, 3]` in [0, 1], stay the caller's. The details are
   * missing where a hook of the user's logs images by captions alone.
   */
  logImages?(
    images: Tensor4D,
    captions: readonly string[],
    globalStep: number,
    details?: SampleDetails,
  ): void | Promise<void>;
  /** Called after every evaluation with up to 16 of its images, the same prompts from the same noise each time. */
  logEvaluationImages?(
    images: Tensor4D,
    captions: readonly string[],
    globalStep: number,
    details?: SampleDetails,
  ): void | Promise<void>;
  /** Called once, when training ends in whatever way. */
  close(): void | Promise<void>;
}

/** Combines trackers: each call goes to all of them, one after the other. Logs images if one of them does. */
export function allTrackers(trackers: readonly Tracker[]): Tracker {
  const loggers = trackers.filter(({ logImages }) => logImages);
  return {
    async log(metrics) {
      for (const tracker of trackers) await tracker.log(metrics);
    },
    async logEvaluation(metrics) {
      for (const tracker of trackers) await tracker.logEvaluation?.(metrics);
    },
    ...(loggers.length > 0 && {
      async logImages(...logged) {
        for (const tracker of loggers) await tracker.logImages!(...logged);
      },
    }),
    async logEvaluationImages(...logged) {
      for (const tracker of trackers) await tracker.logEvaluationImages?.(...logged);
    },
    async close() {
      for (const tracker of trackers) await tracker.close();
    },
  };
}
