/** What one optimizer step reports. */
export interface StepMetrics {
  /** An epoch is one optimizer step, as in TRL; counts from 0. */
  readonly epoch: number;
  /** Optimizer steps taken before this one, earlier runs that were resumed included. */
  readonly globalStep: number;
  /** Over all images of the step. */
  readonly rewardMean: number;
  /**
   * As TRL: the population's standard deviation (ddof 0) of each micro-batch, averaged over them; 0 for batches of one
   * image.
   */
  readonly rewardStd: number;
  /** The mean over all images of each term that the reward names, such as those of a weighted sum. */
  readonly rewardTerms: Readonly<Record<string, number>>;
  /**
   * With `kl_weight`, the mean squared difference between the predictions with and without the adapter at attached
   * steps, before the update.
   */
  readonly kl?: number;
  /**
   * -rewardMean, and with `kl_weight` its product with `kl` added. TRL reports 10 - rewardMean; a constant has no
   * gradient, and the reward's own scale is easier to read.
   */
  readonly loss: number;
  /** The L2 norm of all gradients together, before clipping. */
  readonly gradNorm: number;
  /** With `on_nonfinite: 'skip'`, how often the step was drawn anew because something was not finite. */
  readonly skipped?: number;
  /** What the step moved the weights with, after the schedule. */
  readonly learningRate: number;
  readonly seconds: number;
  /** Of DDPO: ½ mean (log ratio)², an estimate of how far the weights have moved from those that drew the images. */
  readonly approxKl?: number;
  /** Of DDPO: the share of importance ratios that were further than `train_clip_range` from 1. */
  readonly clipFraction?: number;
}

/** A line of `metrics.jsonl`, in TRL's spelling; a term of the reward is `reward/<term>`. */
export function metricsRecord({
  epoch,
  globalStep,
  rewardMean,
  rewardStd,
  rewardTerms,
  kl,
  loss,
  gradNorm,
  skipped,
  learningRate,
  seconds,
  approxKl,
  clipFraction,
}: StepMetrics): Record<string, number> {
  const policy = {
    ...(approxKl !== undefined && { approx_kl: approxKl }),
    ...(clipFraction !== undefined && { clipfrac: clipFraction }),
  };
  return {
    epoch,
    global_step: globalStep,
    reward_mean: rewardMean,
    reward_std: rewardStd,
    ...termRecord(rewardTerms),
    ...(kl !== undefined && { kl }),
    loss,
    grad_norm: gradNorm,
    ...(skipped !== undefined && { skipped }),
    learning_rate: learningRate,
    ...policy,
    seconds,
  };
}

const termRecord = (terms: StepMetrics['rewardTerms']) =>
  Object.fromEntries(Object.entries(terms).map(([name, mean]) => [`reward/${name}`, mean]));

/** What an evaluation of held-out prompts reports. */
export interface EvaluationMetrics {
  /** Optimizer steps taken before it; 0 is the model that training starts from. */
  readonly globalStep: number;
  /** Over all images. */
  readonly rewardMean: number;
  /** Over all images (ddof 0). */
  readonly rewardStd: number;
  /** As `pixelDiversity`; of several images a prompt only. */
  readonly diversity?: number;
  /** Whether no earlier evaluation had as high a mean. */
  readonly isBest: boolean;
  /** Steps taken before the best evaluation so far. */
  readonly bestStep: number;
}

/** A line of `evaluations.jsonl`. */
export function evaluationRecord({
  globalStep,
  rewardMean,
  rewardStd,
  diversity,
  bestStep,
}: EvaluationMetrics): Record<string, number> {
  return {
    global_step: globalStep,
    eval_reward_mean: rewardMean,
    eval_reward_std: rewardStd,
    ...(diversity !== undefined && { eval_diversity: diversity }),
    eval_best_step: bestStep,
  };
}

/** An evaluation in words. */
export function describeEvaluation({ globalStep, rewardMean, diversity, isBest, bestStep }: EvaluationMetrics): string {
  const apart = diversity === undefined ? '' : `, diversity ${diversity.toFixed(4)}`;
  return `Held-out reward after ${globalStep} steps: ${rewardMean.toFixed(4)}${apart} (${isBest ? 'the best so far' : `best after ${bestStep}`})`;
}
