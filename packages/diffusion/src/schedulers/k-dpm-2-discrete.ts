import { logMidpoint, midpointScheduler } from './midpoint-scheduler.js';

/**
 * The midpoint rule on dx/dσ, with the midpoint in log σ, as in k-diffusion's DPM2: diffusers'
 * `KDPM2DiscreteScheduler`. A step takes two model calls.
 */
export const KDPM2DiscreteScheduler = midpointScheduler('KDPM2DiscreteScheduler', (from, to) => ({
  from,
  middle: logMidpoint(from, to),
  to,
  up: 0,
}));
