// What calls rewards needs to know of them, without the rewards themselves: '@alignprop/rewards/interface'.
export { describeValue, isClass, rewardName, scoresTensor, sourceOfScores } from './returned-scores.js';
export { detailed, outsideRun, type BlackBoxReward, type RewardContext } from './reward.js';
export { RewardScorer, type BatchScores } from './reward-scorer.js';
