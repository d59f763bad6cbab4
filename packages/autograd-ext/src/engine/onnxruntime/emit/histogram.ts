import { cast, equal, expandDims, max, mul, range, reshape, sum, type Tensor } from '@tensorflow/tfjs-core';
import { registerDecomposition } from '../recorder/recorder.js';

// Counts how often each integer occurs, or sums its weights. Values beyond the last bin are ignored.
for (const kernel of ['Bincount', 'DenseBincount']) {
  registerDecomposition<{ size: number; binaryOutput?: boolean }>(
    kernel,
    ({ x, weights }, { size, binaryOutput = false }) => {
      const hits = equal(expandDims(x!, -1), range(0, size, 1, 'int32')); // [..., N, size]
      if (binaryOutput) return max(cast(hits, weights!.dtype), -2);
      const counted =
        weights!.size === 0
          ? cast(hits, weights!.dtype)
          : mul(cast(hits, weights!.dtype), reshape(weights!, [...x!.shape, 1]));
      return sum(counted, -2) as Tensor;
    },
  );
}
