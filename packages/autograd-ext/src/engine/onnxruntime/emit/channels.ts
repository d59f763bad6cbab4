import type { Value } from '../graph/graph.js';
import { identityOrder, ordered, viewOf, type View } from '../recorder/view.js';

/** The order of ONNX's images and volumes, channels first, of tensors with channels last. */
export const channelsFirstOrder = (rank: number): readonly number[] => [
  0,
  rank - 1,
  ...identityOrder(rank - 1).slice(1),
];

/** An image or volume as ONNX takes it, `[B, C, …]`. */
export const toChannelsFirst = (view: View): Value => ordered(view, channelsFirstOrder(view.shape.length));
export const fromChannelsFirst = (value: Value): View => viewOf(value, channelsFirstOrder(value.shape.length));
