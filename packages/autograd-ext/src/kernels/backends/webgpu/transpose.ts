import {
  cast,
  engine,
  gather,
  reshape,
  tensor1d,
  tidy,
  util,
  type NamedAttrMap,
  type Tensor,
} from '@tensorflow/tfjs-core';
import { wrapKernel } from '../../registry/wrap-kernel.js';

/** Transposes integers and booleans on WebGPU by gathering: tfjs's shader takes float32 only, and returns garbage. */
export const transposeIntegersOnWebGPU = (): void =>
  wrapKernel('Transpose', 'webgpu', (call, original) => {
    const x = call.inputs['x'] as Tensor;
    if (x.dtype === 'float32') return original(call);
    const { perm } = call.attrs as { perm: number[] };
    if (x.dtype === 'bool')
      return tidy(() =>
        cast(engine().runKernel('Transpose', { x: cast(x, 'int32') }, { perm } as NamedAttrMap), 'bool'),
      );
    return tidy(() =>
      reshape(
        gather(reshape(x, [-1]), sources(x.shape, perm)),
        perm.map((axis) => x.shape[axis]!),
      ),
    );
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
