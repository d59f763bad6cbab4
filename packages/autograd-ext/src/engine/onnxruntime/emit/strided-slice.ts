import { resolveSlice, type StridedSliceAttrs } from '../../../kernels/geometry/strided-slice.js';
import { registerKernelEmitter } from '../recorder/recorder.js';
import { reshapedView } from '../recorder/view.js';
import { slice } from './shape.js';

// Slices with steps and masks, as in numpy.
registerKernelEmitter<StridedSliceAttrs>('StridedSlice', ({ x }, attrs) => {
  const { begin, strides, finalShape, counts } = resolveSlice([...x!.shape], attrs);
  // tfjs's ends are not used: an end of -1 means "before the first element" here, but the last element to ONNX.
  const ends = begin.map((first, axis) => first + counts[axis]! * strides[axis]!);
  return reshapedView(
    slice(
      x!,
      begin,
      ends.map((stop, axis) => (stop < 0 && strides[axis]! < 0 ? -x!.shape[axis]! - 1 : stop)),
      strides,
    ),
    finalShape,
  );
});
