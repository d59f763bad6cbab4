import { add, mul, range, registerGradient, reshape, scalar, scatterND, type Tensor } from '@tensorflow/tfjs-core';

/** Adds the gradient of the values of tf.topk, which tfjs lacks: writes dy back to the indices they were read from. */
export const addTopKGradient = () =>
  registerGradient({
    kernelName: 'TopK',
    inputsToSave: ['x'],
    outputsToSave: [false, true],
    gradFunc: (dys, [x, indices]) => ({ x: () => gradient((dys as Tensor[])[0]!, x!, indices!) }),
  });

function gradient(dy: Tensor, x: Tensor, indices: Tensor): Tensor {
  const width = x.shape.at(-1)!;
  const rows = mul(range(0, x.size / width, 1, 'int32'), scalar(width, 'int32'));
  const flatIndices = add(reshape(rows, [-1, 1]), reshape(indices, [x.size / width, -1])); // [rows, k], into flat x
  return reshape(scatterND(reshape(flatIndices, [-1, 1]), reshape(dy, [-1]), [x.size]), x.shape);
}
