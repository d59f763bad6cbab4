import { add, mul, rsqrt, sub } from '@tensorflow/tfjs-core';
import { completeBatchNormInputs } from '../../../kernels/gradients/batch-norm-grad.js';
import { registerDecomposition, recorderName } from '../recorder/recorder.js';

// One factor and one offset per channel. With frozen statistics ONNX Runtime computes both once, when a session starts.
registerDecomposition<{ varianceEpsilon: number }>(
  'FusedBatchNorm',
  ({ x, mean, variance, offset, scale }, { varianceEpsilon }) => {
    const slope = rsqrt(add(variance!, varianceEpsilon));
    const factor = scale ? mul(slope, scale) : slope;
    const shift = mul(mean!, factor);
    return add(mul(x!, factor), offset ? sub(offset, shift) : mul(shift, -1));
  },
);
completeBatchNormInputs([recorderName]);
