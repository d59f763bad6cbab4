import { registerGradient, reshape, transpose, type Tensor } from '@tensorflow/tfjs-core';

interface DepthToSpaceAttrs {
  readonly blockSize: number;
  readonly dataFormat: 'NHWC' | 'NCHW';
}

/** Adds the gradient of tf.depthToSpace, which tfjs lacks: moves blocks of dy back to the depth. */
export const addDepthToSpaceGradient = () =>
  registerGradient({
    kernelName: 'DepthToSpace',
    inputsToSave: ['x'],
    gradFunc: (dy, [x], attrs) => ({
      x: () => gradient(dy as Tensor, x!.shape, attrs as unknown as DepthToSpaceAttrs),
    }),
  });

function gradient(dy: Tensor, shape: number[], { blockSize, dataFormat }: DepthToSpaceAttrs): Tensor {
  if (dataFormat === 'NHWC') {
    const [batch, height, width, depth] = shape as [number, number, number, number];
    const rows = reshape(dy, [batch * height, blockSize, width, depth / blockSize]); // [B·H, b, W, b·C]
    return reshape(transpose(rows, [0, 2, 1, 3]), shape);
  }
  const [batch, depth, height, width] = shape as [number, number, number, number];
  // [B, C, H, b, W, b]
  const blocks = reshape(dy, [batch, depth / blockSize ** 2, height, blockSize, width, blockSize]);
  return reshape(transpose(blocks, [0, 3, 5, 1, 2, 4]), shape);
}
