import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { TensorflowBackend } from '../../registry/tensorflow-backend.js';
import { wrapKernel } from '../../registry/wrap-kernel.js';
import { product } from './product.js';

/** Runs tf.matMul in the precision of products. */
export const multiplyOnTensorflow = () =>
  wrapKernel('BatchMatMul', 'tensorflow', ({ inputs, attrs, backend }) => {
    const { a, b } = inputs as Record<string, TensorInfo>;
    const { transposeA, transposeB } = attrs as { transposeA?: boolean; transposeB?: boolean };
    const adjoint = { adj_x: { bool: transposeA ?? false }, adj_y: { bool: transposeB ?? false } };
    return product(backend as TensorflowBackend, 'BatchMatMulV2', adjoint, [a!, b!]);
  });
