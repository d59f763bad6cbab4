import { ancestralLevels } from './sigmas.js';
import { logMidpoint, midpointScheduler } from './midpoint-scheduler.js';

/**
 * The midpoint rule with fresh noise after every step, as in k-diffusion's DPM2 ancestral: diffusers'
 * `KDPM2AncestralDiscreteScheduler`. A step takes two model calls.
 */
export const KDPM2AncestralDiscreteScheduler = midpointScheduler(
  'KDPM2AncestralDiscreteScheduler',
  (from, next) => {
    const { down, up } = ancestralLevels(from, next);
    return { from, middle: logMidpoint(from, down), to: down, up };
  },
  { isAncestral: true },
);
