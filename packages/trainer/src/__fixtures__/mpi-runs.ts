import type { AlignPropConfigInput } from '../config/config.js';
import { undrawn } from './drawn-by-index.js';

/** For `drawnByIndex`. */
export const indexed: AlignPropConfigInput = { ...undrawn, num_epochs: 2 };

/** Everything is drawn from seed + rank. */
export const seeded: AlignPropConfigInput = {
  truncated_backprop_rand: true,
  truncated_rand_backprop_minmax: [0, 3],
  train_batch_size: 1,
};
