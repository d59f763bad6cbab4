import { engine, tidy, type Tensor } from '@tensorflow/tfjs-core';
import { wrapKernel } from '../../registry/wrap-kernel.js';

/** WebGPU promises 8 buffers in a shader, one of which is the result. */
const most = 7;

/** Adds many tensors in groups on WebGPU: tfjs binds all of them at once, and where that fails returns garbage. */
export const addInGroupsOnWebGPU = (): void =>
  wrapKernel('AddN', 'webgpu', (call, original) => {
    const tensors = call.inputs as unknown as Tensor[];
    if (tensors.length <= most) return original(call);
    return tidy(() => {
      const groups: Tensor[] = [];
      for (let i = 0; i < tensors.length; i += most) groups.push(sumOf(tensors.slice(i, i + most)));
      return sumOf(groups);
    });
  });

const sumOf = (tensors: Tensor[]): Tensor => engine().runKernel('AddN', tensors as never) as Tensor;
