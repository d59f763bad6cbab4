import { cast, gather, reshape, tensor1d, tidy, util, type Tensor } from '@tensorflow/tfjs-core';
import { wrapKernel } from '../../registry/wrap-kernel.js';

/** Transposes integers and booleans on WebGPU by gathering: tfjs's shader takes float32 only, and returns garbage. */
export const transposeIntegersOnWebGPU = (): void =>
  wrapKernel('Transpose', 'webgpu', (call, original) => {
    const x = call.inputs['x'] as Tensor;
    if (x.dtype === 'float32') return original(call);
    const { perm } = call.attrs as { perm: number[] };
    const shape = perm.map((axis) => x.shape[axis]!);
    return tidy(() => {
      const elements = reshape(cast(x, 'int32'), [-1]);
      return cast(reshape(gather(elements, sources(x.shape, perm)), shape), x.dtype);
    });
  });

/** The position in x of each element of the transposed tensor. */
function sources(shape: readonly number[], perm: readonly number[]): Tensor {
  const strides = [...util.computeStrides([...shape]), 1];
  const positions = perm.reduce(
    (found, axis) =>
      found.flatMap((position) => Array.from({ length: shape[axis]! }, (_, i) => position + i * strides[axis]!)),
    [0],
  );
  return tensor1d(positions, 'int32');
}
