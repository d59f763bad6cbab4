export { testReward, type TestRewardOptions } from './test-reward.js';
