import type { DataType, KernelBackend, Tensor, TensorInfo } from '@tensorflow/tfjs-core';

/** An attribute of a TensorFlow op. `type` is one of the binding's TF_ATTR constants. */
interface OpAttribute {
  readonly name: string;
  readonly type: number;
  readonly value: unknown;
}

/** A tensor of TensorFlow by its id, to be freed with `deleteTensor`. `dtype` is a TF_DataType. */
export interface TensorHandle {
  readonly id: number;
  readonly shape: number[];
  readonly dtype: number;
}

/** The native addon of tfjs-node. It executes any op of TensorFlow, in any of its dtypes. */
interface TensorflowBinding {
  readonly TF_ATTR_STRING: number;
  readonly TF_ATTR_INT: number;
  readonly TF_ATTR_FLOAT: number;
  readonly TF_ATTR_BOOL: number;
  readonly TF_ATTR_TYPE: number;
  readonly TF_Version: string;
  executeOp(
    name: string,
    attributes: readonly OpAttribute[],
    inputs: readonly number[],
    outputs: number,
  ): TensorHandle[];
  deleteTensor(id: number): void;
}

/** The parts of tfjs-node's backend that this package uses: it is optional, and so are its types. */
export type TensorflowBackend = KernelBackend & {
  readonly binding: TensorflowBinding;
  /** Whether the backend is that of @tensorflow/tfjs-node-gpu. */
  readonly isGPUPackage: boolean;
  /** Whether TensorFlow has found a GPU. */
  readonly isUsingGpuDevice: boolean;
  /** Uploads the tensors that are still in JavaScript's memory, and returns the ids of all. */
  getInputTensorIds(tensors: readonly TensorInfo[]): number[];
  /** Makes a tensor that owns the handle. */
  createOutputTensor(handle: TensorHandle): Tensor;
  applyActivation(x: Tensor, activation?: string, prelu?: TensorInfo, leakyreluAlpha?: number): Tensor;
};

/** TensorFlow's numbers of dtypes. */
const tfTypes = { float32: 1, int32: 3, bool: 10, bfloat16: 14, float16: 19 } as const;
export type TensorflowType = keyof typeof tfTypes;

/** The value of an attribute, under the kind that TensorFlow declares for it. */
export type AttributeValue =
  | { readonly type: TensorflowType }
  | { readonly int: number | readonly number[] }
  | { readonly float: number }
  | { readonly bool: boolean }
  | { readonly string: string };
export type Attributes = Readonly<Record<string, AttributeValue>>;

/** Executes a TensorFlow op with one output on tensors. */
export function executeOp(
  backend: TensorflowBackend,
  name: string,
  attributes: Attributes,
  inputs: readonly TensorInfo[],
): Tensor {
  const ids = backend.getInputTensorIds(inputs);
  return backend.createOutputTensor(executeOnIds(backend, name, attributes, ids));
}

/**
 * Executes a TensorFlow op with one output on tensors by their ids, which may have dtypes that tfjs lacks.
 * @returns a handle that the caller frees with `deleteTensor` or gives to `createOutputTensor`
 */
export function executeOnIds(
  { binding }: TensorflowBackend,
  name: string,
  attributes: Attributes,
  ids: readonly number[],
): TensorHandle {
  const given = Object.entries(attributes).map(([key, value]): OpAttribute => ({
    name: key,
    ...encode(binding, value),
  }));
  return binding.executeOp(name, given, ids, 1)[0]!;
}

function encode(binding: TensorflowBinding, value: AttributeValue): Omit<OpAttribute, 'name'> {
  if ('type' in value) return { type: binding.TF_ATTR_TYPE, value: tfTypes[value.type] };
  if ('int' in value) return { type: binding.TF_ATTR_INT, value: value.int };
  if ('float' in value) return { type: binding.TF_ATTR_FLOAT, value: value.float };
  if ('bool' in value) return { type: binding.TF_ATTR_BOOL, value: value.bool };
  return { type: binding.TF_ATTR_STRING, value: value.string };
}

/** The name of a tensor's dtype for TensorFlow. */
export function tensorflowType(dtype: DataType): TensorflowType {
  if (Object.hasOwn(tfTypes, dtype)) return dtype as TensorflowType;
  throw new Error(`tensorflow: dtype got '${dtype}', expected one of ${Object.keys(tfTypes).join(', ')}.`);
}
