import type { AlignPropConfigInput } from '../config/config.js';
import { undrawn } from './drawn-by-index.js';

/** The configuration of runs with `drawnByIndex`. */
export const indexed: AlignPropConfigInput = { ...undrawn, num_epochs: 2 };

/** The configuration of runs that draw from seed + rank. */
export const seeded: AlignPropConfigInput = {
  truncated_backprop_rand: true,
  truncated_rand_backprop_minmax: [0, 3],
  train_batch_size: 1,
};
