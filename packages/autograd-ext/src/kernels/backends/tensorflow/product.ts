import type { Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { productPrecision } from '../../../precision.js';
import {
  executeOnIds,
  executeOp,
  tensorflowType,
  type Attributes,
  type TensorflowBackend,
  type TensorflowType,
  type TensorHandle,
} from '../../registry/tensorflow-backend.js';

/**
 * Executes a matrix product or convolution in the precision of products: casts float32 factors to it, and the result
 * back. tfjs has no dtype for half precision, so the factors in between are handles of TensorFlow.
 */
export function product(
  backend: TensorflowBackend,
  name: string,
  attributes: Attributes,
  inputs: readonly TensorInfo[],
): Tensor {
  const type = tensorflowType(inputs.at(-1)!.dtype);
  const precision = productPrecision();
  if (type !== 'float32' || precision === 'float32')
    return executeOp(backend, name, { T: { type }, ...attributes }, inputs);
  const cast = (id: number, from: TensorflowType, to: TensorflowType): TensorHandle =>
    executeOnIds(backend, 'Cast', { SrcT: { type: from }, DstT: { type: to }, Truncate: { bool: false } }, [id]);
  const temporary: TensorHandle[] = [];
  const temporaryCast = (...args: Parameters<typeof cast>): number => {
    const handle = cast(...args);
    temporary.push(handle);
    return handle.id;
  };
  const executed = isWrong(backend, name, precision) ? 'float32' : precision;
  const factors = backend.getInputTensorIds(inputs).map((id, i) => {
    const isShape = inputs[i]!.dtype !== 'float32';
    if (isShape) return id;
    const half = temporaryCast(id, 'float32', precision);
    return executed === precision ? half : temporaryCast(half, precision, executed);
  });
  const result = executeOnIds(backend, name, { T: { type: executed }, ...attributes }, factors);
  const y = executed === 'float32' ? result : cast(result.id, executed, 'float32');
  if (y !== result) temporary.push(result);
  temporary.forEach(({ id }) => backend.binding.deleteTensor(id));
  return backend.createOutputTensor(y);
}

/**
 * Whether TensorFlow 2.21 computes an op wrongly: convolutions in bfloat16 on a CPU lose a quarter of the sum. Their
 * factors are rounded to bfloat16, and multiplied in float32.
 */
const isWrong = ({ isUsingGpuDevice }: TensorflowBackend, name: string, precision: TensorflowType): boolean =>
  precision === 'bfloat16' && !isUsingGpuDevice && name !== 'BatchMatMulV2';
