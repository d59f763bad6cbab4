import type { Value } from '../graph/graph.js';
import { identityOrder, ordered, viewOf, type View } from '../recorder/view.js';

// Images and volumes have their channels last in tfjs and first in ONNX.

/** The order of ONNX's axes, `[B, C, …]`, in terms of the tensor's axes, `[B, …, C]`. */
const channelsFirstOrder = (rank: number): readonly number[] => [0, rank - 1, ...identityOrder(rank - 1).slice(1)];

/** The value of an image or volume with channels first, `[B, C, …]`. */
export const toChannelsFirst = (view: View): Value => ordered(view, channelsFirstOrder(view.shape.length));
/** The view, with channels last, of an image or volume that is stored as `[B, C, …]`. */
export const fromChannelsFirst = (value: Value): View => viewOf(value, channelsFirstOrder(value.shape.length));
