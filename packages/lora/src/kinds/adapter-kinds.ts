import type { AdapterKind } from './adapter-kind.js';
import { fullDifference } from './full-difference.js';
import { ia3, ia3Lycoris } from './ia3.js';
import { loha } from './loha.js';
import { lokr } from './lokr.js';
import { lowRank } from './low-rank.js';

/**
 * Every kind of adapter that is read. A new kind is one object and one entry here. Where a module has marks of several,
 * the first that allows all of its tensors is meant.
 */
export const adapterKinds: readonly AdapterKind[] = [lowRank, loha, lokr, ia3, ia3Lycoris, fullDifference];
