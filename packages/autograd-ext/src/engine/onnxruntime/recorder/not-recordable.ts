/** Why kernels of tfjs cannot be recorded, and what to use instead. */
interface Reason {
  readonly because: string;
  readonly instead: string;
  readonly kernels: readonly string[];
}

const reasons: readonly Reason[] = [
  {
    because: 'whose result has a shape that depends on values',
    instead: 'Keep all entries and weight them (masks, softmax, topk of a fixed number)',
    kernels: [
      'NonMaxSuppressionV3',
      'NonMaxSuppressionV4',
      'NonMaxSuppressionV5',
      'Unique',
      'RaggedGather',
      'RaggedRange',
      'RaggedTensorToTensor',
      'SparseFillEmptyRows',
      'SparseReshape',
      'SparseSegmentMean',
      'SparseSegmentSum',
    ],
  },
  {
    because: 'which draws random numbers: a recording would repeat them in each call',
    instead: 'Draw them outside and hand them in as an input',
    kernels: ['Multinomial'],
  },
  {
    because: 'which works on complex numbers, for which ONNX has no type',
    instead: 'Multiply with matrices of cosines and sines instead',
    kernels: ['Complex', 'ComplexAbs', 'Real', 'Imag', 'FFT', 'IFFT'],
  },
  {
    because: 'which works on strings',
    instead: 'Do that before, outside the function',
    kernels: ['StaticRegexReplace', 'StringNGrams', 'StringSplit', 'StringToHashBucketFast'],
  },
  {
    because: 'which belongs to a canvas',
    instead: 'Do that outside the function',
    kernels: ['Draw', 'FromPixels'],
  },
  {
    because: 'which tfjs cannot differentiate',
    instead: 'Use maxPool, cropAndResize, gather or matrix products',
    kernels: ['MaxPoolWithArgmax', 'RotateWithOffset', 'Transform'],
  },
  {
    because: 'which no op of tfjs asks for',
    instead: 'Use the op of that name',
    kernels: ['LowerBound', 'MatrixBandPart', 'Pool', 'UpperBound'],
  },
];

/** The kernels of tfjs that have no emitter on purpose. */
export const notRecordable: ReadonlySet<string> = new Set(reasons.flatMap(({ kernels }) => kernels));

/** The end of an error message about a kernel without an emitter: why, and what to do instead. */
export function reasonAgainst(kernelName: string): string {
  const reason = reasons.find(({ kernels }) => kernels.includes(kernelName));
  return reason ? `${reason.because}. ${reason.instead}` : 'which cannot be recorded. Write it with other tfjs ops';
}
