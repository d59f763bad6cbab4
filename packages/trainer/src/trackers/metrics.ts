/** The metrics of one optimizer step. */
export interface StepMetrics {
  /** An epoch is one optimizer step, as in TRL; counts from 0. */
  readonly epoch: number;
  /** Optimizer steps taken before this one, those before a resume included. */
  readonly globalStep: number;
  /** The mean reward over all images of the step. */
  readonly rewardMean: number;
  /**
   * As in TRL, the standard deviation (ddof 0) of the rewards of each micro-batch, averaged over micro-batches. 0 for
   * batches of one image.
   */
  readonly rewardStd: number;
  /** The mean over all images of each named term of the reward, such as those of a weighted sum. */
  readonly rewardTerms: Readonly<Record<string, number>>;
  /**
   * With `kl_weight`, the mean squared difference between the predictions with and without the adapter at attached
   * steps, before the update.
   */
  readonly kl?: number;
  /**
   * With `kl_weight` or `norm_weight`, how much longer the predictions are than without the adapter; see `Penalties`.
   */
  readonly normExcess?: number;
  /** The diffusion loss of the data before the update, with a `data_weight`. */
  readonly dataLoss?: number;
  /**
   * -rewardMean, plus `kl_weight` · `kl`, `norm_weight` · `normExcess` and `data_weight` · `dataLoss` where these
   * weights are set. TRL reports 10 - rewardMean: the constant has no effect on the gradient and only hides the scale
   * of the reward.
   */
  readonly loss: number;
  /** The L2 norm of all gradients together before clipping. */
  readonly gradNorm: number;
  /** With `on_nonfinite: 'skip'`, how many times the step was drawn again because a value was not finite. */
  readonly skipped?: number;
  /** DDPO with `on_reward_error: 'skip'`: images that were not trained on because their reward failed. */
  readonly failedImages?: number;
  /** The learning rate of the step, after the schedule. */
  readonly learningRate: number;
  /** Duration of the step. */
  readonly seconds: number;
  /** DDPO only: ½ mean (log ratio)², an estimate of how far the weights have moved since they drew the images. */
  readonly approxKl?: number;
  /** DDPO only: the share of importance ratios further than `train_clip_range` from 1. */
  readonly clipFraction?: number;
}

/** The metrics of a step as a line of metrics.jsonl, in snake case. Terms of the reward are `reward/<term>`. */
export function metricsRecord({
  epoch,
  globalStep,
  rewardMean,
  rewardStd,
  rewardTerms,
  kl,
  normExcess,
  dataLoss,
  loss,
  gradNorm,
  skipped,
  failedImages,
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
    ...(normExcess !== undefined && { norm_excess: normExcess }),
    ...(dataLoss !== undefined && { data_loss: dataLoss }),
    loss,
    grad_norm: gradNorm,
    ...(skipped !== undefined && { skipped }),
    ...(failedImages !== undefined && { failed_images: failedImages }),
    learning_rate: learningRate,
    ...policy,
    seconds,
  };
}

const termRecord = (terms: StepMetrics['rewardTerms']) =>
  Object.fromEntries(Object.entries(terms).map(([name, mean]) => [`reward/${name}`, mean]));

/** The metrics of an evaluation on held-out prompts. */
export interface EvaluationMetrics {
  /** Optimizer steps taken before the evaluation; 0 is the model that training starts from. */
  readonly globalStep: number;
  /** The mean reward over all images. */
  readonly rewardMean: number;
  /** The standard deviation of the rewards over all images (ddof 0). */
  readonly rewardStd: number;
  /** `pixelDiversity`; undefined with a single image per prompt. */
  readonly diversity?: number;
  /** With `on_collapse`, the share of images that the model without its adapter takes for their prompt. */
  readonly recognised?: number;
  /** With `on_collapse`, whether diversity or recognition has collapsed. */
  readonly hasCollapsed?: boolean;
  /** Whether the mean is higher than in all earlier evaluations, and the pictures have not collapsed. */
  readonly isBest: boolean;
  /** Optimizer steps taken before the best evaluation so far. */
  readonly bestStep: number;
}

/** The metrics of an evaluation as a line of evaluations.jsonl. */
export function evaluationRecord({
  globalStep,
  rewardMean,
  rewardStd,
  diversity,
  recognised,
  hasCollapsed,
  bestStep,
}: EvaluationMetrics): Record<string, number> {
  return {
    global_step: globalStep,
    eval_reward_mean: rewardMean,
    eval_reward_std: rewardStd,
    ...(diversity !== undefined && { eval_diversity: diversity }),
    ...(recognised !== undefined && { eval_recognised: recognised }),
    ...(hasCollapsed !== undefined && { eval_collapsed: Number(hasCollapsed) }),
    eval_best_step: bestStep,
  };
}

/** Describes an evaluation for the log. */
export function describeEvaluation({
  globalStep,
  rewardMean,
  isBest,
  bestStep,
  ...figures
}: EvaluationMetrics): string {
  const { diversity, recognised } = figures;
  const diversityText = diversity === undefined ? '' : `, diversity ${diversity.toFixed(4)}`;
  const recognisedText = recognised === undefined ? '' : `, recognised ${recognised.toFixed(2)}`;
  const rank = isBest ? 'the best so far' : `best after ${bestStep}`;
  const reward = `Held-out reward after ${globalStep} steps: ${rewardMean.toFixed(4)}`;
  return `${reward}${diversityText}${recognisedText} (${rank})`;
}
