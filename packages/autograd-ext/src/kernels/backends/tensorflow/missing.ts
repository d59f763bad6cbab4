import { getKernel, registerKernel, scalar, tidy, type NamedAttrMap, type TensorInfo } from '@tensorflow/tfjs-core';
import {
  executeOp,
  tensorflowType,
  type Attributes,
  type TensorflowBackend,
} from '../../registry/tensorflow-backend.js';

type Inputs = Readonly<Record<string, TensorInfo>>;

/** Adds kernels that tfjs-node lacks and TensorFlow has. */
export function addKernelsOnTensorflow(): void {
  add('BitwiseAnd', ({ a, b }) => ({ op: 'BitwiseAnd', inputs: [a!, b!], attributes: typed(a!) }));
  add('LogicalXor', ({ a, b }) => ({ op: 'NotEqual', inputs: [a!, b!], attributes: typed(a!) }));
  add('SearchSorted', ({ sortedSequence, values }, { side }) => ({
    op: side === 'left' ? 'LowerBound' : 'UpperBound',
    inputs: [sortedSequence!, values!],
    attributes: { ...typed(values!), out_type: { type: 'int32' } },
  }));
  add('DenseBincount', ({ x, weights }, { size, binaryOutput }) => ({
    op: 'DenseBincount',
    inputs: [x!, scalar(size as number, 'int32'), weights!],
    attributes: { ...typed(weights!), Tidx: { type: 'int32' }, binary_output: { bool: Boolean(binaryOutput) } },
  }));
}

const typed = ({ dtype }: TensorInfo): Attributes => ({ T: { type: tensorflowType(dtype) } });

interface Call {
  readonly op: string;
  readonly inputs: readonly TensorInfo[];
  readonly attributes: Attributes;
}

function add(kernelName: string, call: (inputs: Inputs, attrs: NamedAttrMap) => Call): void {
  if (getKernel(kernelName, 'tensorflow')) return;
  registerKernel({
    kernelName,
    backendName: 'tensorflow',
    kernelFunc: ({ inputs, attrs, backend }) =>
      tidy(() => {
        const { op, inputs: operands, attributes } = call(inputs as Inputs, attrs ?? {});
        return executeOp(backend as TensorflowBackend, op, attributes, operands);
      }),
  });
}
