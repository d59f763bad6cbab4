import { registerHostKernel } from '../fused/host-kernel.js';

/**
 * tf.unsortedSegmentSum, which the wasm backend lacks and the gradient of tf.gather needs: row i of x is added to row
 * `segmentIds[i]`.
 */
export const addSegmentSumOnWasm = () =>
  registerHostKernel<{ readonly numSegments: number }>(
    {
      name: 'UnsortedSegmentSum',
      outputShape: ({ x, segmentIds }, { numSegments }) => [numSegments, ...x!.slice(segmentIds!.length)],
      run({ x, segmentIds }, sums, { numSegments }) {
        const [rows, width] = [x!.values, sums.length / numSegments];
        sums.fill(0);
        segmentIds!.values.forEach((id, row) => {
          if (id < 0 || id >= numSegments) return;
          for (let i = 0; i < width; i++) sums[id * width + i]! += rows[row * width + i]!;
        });
      },
    },
    ['wasm'],
  );
