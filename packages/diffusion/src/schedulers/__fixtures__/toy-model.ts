import { add, mul, tanh, transpose, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';

/**
 * The model that the reference samples were computed with: (0.8 + 0.4 t / 1000) · tanh(a x + b) + 0.1 x.
 * @param fixtures the tensors of `schedulers/io.safetensors`, a and b among them
 */
export const toyModel = (fixtures: Readonly<Record<string, Tensor>>, x: Tensor4D, t: number): Tensor4D => {
  const [a, b] = ['toy.a', 'toy.b'].map((name) => transpose(fixtures[name]!, [1, 2, 0])); // [h, w, C]
  return add(mul(tanh(add(mul(a!, x), b!)), 0.8 + (0.4 * t) / 1000), mul(x, 0.1));
};
