import {
  cast,
  minimum,
  scalar,
  slice,
  tensor1d,
  tidy,
  type NamedAttrMap,
  type Tensor,
  type TensorInfo,
} from '@tensorflow/tfjs-core';
import { executeOp, tensorflowType, type TensorflowBackend } from '../../registry/tensorflow-backend.js';
import { wrapKernel } from '../../registry/wrap-kernel.js';

/** Corrects the arguments that tfjs-node passes to TensorFlow's ops where TensorFlow refuses or misreads them. */
export function correctArgumentsOnTensorflow(): void {
  countGatherAxis();
  trimEinsum();
  compareBooleans();
  allowUnsortedIndices();
  dropSegmentsOutOfRange();
}

/** Counts a negative axis from the front: tfjs-node checks the indices against the axis as given. */
const countGatherAxis = () =>
  wrapKernel('GatherV2', 'tensorflow', (call, original) => {
    const { axis } = call.attrs as { readonly axis: number };
    const rank = (call.inputs['x'] as TensorInfo).shape.length;
    return original({ ...call, attrs: { ...call.attrs, axis: axis < 0 ? axis + rank : axis } });
  });

/** Takes the spaces out of the equation, which TensorFlow counts as axes. */
const trimEinsum = () =>
  wrapKernel('Einsum', 'tensorflow', (call, original) => {
    const { equation } = call.attrs as { readonly equation: string };
    return original({ ...call, attrs: { ...call.attrs, equation: equation.replaceAll(' ', '') } as NamedAttrMap });
  });

/** Compares booleans as integers. */
function compareBooleans(): void {
  for (const name of ['Greater', 'GreaterEqual', 'Less', 'LessEqual'])
    wrapKernel(name, 'tensorflow', (call, original) => {
      const { a, b } = call.inputs as Record<string, Tensor>;
      if (a!.dtype !== 'bool' || b!.dtype !== 'bool') return original(call);
      return tidy(() => original({ ...call, inputs: { a: cast(a!, 'int32'), b: cast(b!, 'int32') } }) as Tensor);
    });
}

/** Takes the indices of tf.sparseToDense in any order. */
const allowUnsortedIndices = () =>
  wrapKernel('SparseToDense', 'tensorflow', ({ inputs, attrs, backend }) =>
    tidy(() => {
      const { sparseIndices, sparseValues, defaultValue } = inputs as Record<string, TensorInfo>;
      const shape = tensor1d([...(attrs as { outputShape: number[] }).outputShape], 'int32');
      const attributes = {
        T: { type: tensorflowType(sparseValues!.dtype) },
        Tindices: { type: tensorflowType(sparseIndices!.dtype) },
        validate_indices: { bool: false },
      };
      const operands = [sparseIndices!, shape, sparseValues!, defaultValue!];
      return executeOp(backend as TensorflowBackend, 'SparseToDense', attributes, operands);
    }),
  );

/** Drops rows with a segment beyond the last, which TensorFlow refuses on a CPU: sums them in one more segment. */
const dropSegmentsOutOfRange = () =>
  wrapKernel('UnsortedSegmentSum', 'tensorflow', (call, original) => {
    const { x, segmentIds } = call.inputs as Record<string, Tensor>;
    const { numSegments } = call.attrs as { readonly numSegments: number };
    return tidy(() => {
      const inputs = { x: x!, segmentIds: minimum(segmentIds!, scalar(numSegments, 'int32')) };
      const sums = original({ ...call, inputs, attrs: { numSegments: numSegments + 1 } }) as Tensor;
      return slice(sums, 0, numSegments);
    });
  });
