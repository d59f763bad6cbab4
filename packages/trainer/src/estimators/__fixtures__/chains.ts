import { DDIMScheduler } from '@alignprop/diffusion';
import { plannedChain } from '../planned-chain.js';
import type { PlannedChain } from '../plans.js';

const scheduler = new DDIMScheduler({ clip_sample: false, set_alpha_to_one: false, steps_offset: 1 });

/** A deterministic chain of DDIM of some length. */
export const chainOf = (steps: number): PlannedChain => plannedChain(scheduler, { numInferenceSteps: steps, eta: 0 });
