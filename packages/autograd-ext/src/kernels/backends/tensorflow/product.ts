import type { Tensor, TensorInfo } from '@tensorflow/tfjs-core';
import { productPrecision } from '../../../precision.js';
import {
  executeOnIds,
  executeOp,
  tensorflowType,
  type Attributes,
  type TensorflowBackend,
  type TensorflowType,
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
  const ids = backend.getInputTensorIds(inputs);
  const cast = (id: number, from: TensorflowType, to: TensorflowType) =>
    executeOnIds(backend, 'Cast', { SrcT: { type: from }, DstT: { type: to }, Truncate: { bool: false } }, [id]);
  const factors = ids.map((id, i) => (inputs[i]!.dtype === 'float32' ? cast(id, 'float32', precision).id : id));
  const result = executeOnIds(backend, name, { T: { type: precision }, ...attributes }, factors);
  const y = cast(result.id, precision, 'float32');
  const temporary = [result.id, ...factors.filter((id, i) => id !== ids[i])];
  temporary.forEach((id) => backend.binding.deleteTensor(id));
  return backend.createOutputTensor(y);
}
