import { registerHostKernel } from '../../registry/host-kernel.js';

/**
 * Adds the kernel of tf.unsortedSegmentSum, which the wasm backend lacks and the gradient of tf.gather needs: adds row
 * i of x to row `segmentIds[i]` of the result, and drops rows whose id is out of range.
 */
export const addSegmentSumOnWasm = () =>
  registerHostKernel<{ readonly numSegments: number }>(
    {
      name: 'UnsortedSegmentSum',
      outputShape: ({ x, segmentIds }, { numSegments }) => [numSegments, ...x!.slice(segmentIds!.length)],
      run({ x, segmentIds }, sums, { numSegments }) {
        const [values, width] = [x!.values, sums.length / numSegments];
        sums.fill(0);
        segmentIds!.values.forEach((id, row) => {
          if (id < 0 || id >= numSegments) return;
          for (let i = 0; i < width; i++) sums[id * width + i]! += values[row * width + i]!;
        });
      },
    },
    ['wasm'],
  );
