/** Returns the text of a new reward: TypeScript for a name that ends in `ts`, JavaScript otherwise. */
export const rewardTemplate = (file: string): string => (/\.[cm]?ts$/.test(file) ? typescript : javascript);

const parameters = ` * @param images [B, H, W, 3], RGB from 0 to 1
 * @param prompts B texts
 * @param metadata B values, what the prompts file has beside each prompt
 * @param context { step, epoch } of the run
 * @returns scores [B]
 */
`;

const start = `/**
 * Scores each image; higher is better. Made of operations of tfjs-core only, so that it has a gradient: no data(), no
 * await. It scores each image independently of the others.
`;

const body = `  const red = slice(images, [0, 0, 0, 0], [-1, -1, -1, 1]); // [B, H, W, 1]
  return mean(red, [1, 2, 3]); // [B]
`;

const javascript = `import { mean, slice } from '@tensorflow/tfjs-core';

${start}${parameters}export default function redness(images, prompts, metadata, context) {
${body}}
`;

const typescript = `import type { RewardFunction } from '@alignprop/rewards';
import { mean, slice } from '@tensorflow/tfjs-core';

${start}${parameters}const redness: RewardFunction = (images, prompts, metadata, context) => {
${body}};

export default redness;
`;
