import { tensor1d, tidy, type TensorInfo } from '@tensorflow/tfjs-core';
import type { ResizeImageAttrs } from '../../geometry/resize-sources.js';
import { executeOp, type TensorflowBackend } from '../../registry/tensorflow-backend.js';
import { wrapKernel } from '../../registry/wrap-kernel.js';

/** Makes the gradients of both image resizes respect `halfPixelCenters`, which tfjs-node ignores. */
export function resizeGradientsOnTensorflow(): void {
  wrapResize('ResizeBilinearGrad', (images) => images);
  wrapResize('ResizeNearestNeighborGrad', ({ shape }) => tensor1d(shape.slice(1, 3), 'int32'));
}

/** @param target the second operand of TensorFlow's op: the images, or their size */
const wrapResize = (name: string, target: (images: TensorInfo) => TensorInfo): void =>
  wrapKernel(name, 'tensorflow', ({ inputs, attrs, backend }) =>
    tidy(() => {
      const { dy, images } = inputs as Record<string, TensorInfo>;
      const { alignCorners, halfPixelCenters } = attrs as unknown as ResizeImageAttrs;
      const attributes = {
        T: { type: 'float32' },
        align_corners: { bool: alignCorners },
        half_pixel_centers: { bool: halfPixelCenters },
      } as const;
      return executeOp(backend as TensorflowBackend, name, attributes, [dy!, target(images!)]);
    }),
  );
