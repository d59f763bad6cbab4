import { add, dispose, div, maximum, mul, tidy, type Scalar, type Tensor, type Variable } from '@tensorflow/tfjs-core';
import type { Gradients } from '../optim/gradients.js';

/** The smallest normal float32: a gradient of 0 stays 0. */
const smallest = 2 ** -126;

/**
 * Calls a function while the weights are moved by a distance towards a higher loss, θ + ρ·g / ‖g‖, and restores
 * their values exactly, however it ends: sharpness-aware minimisation (arXiv 2010.01412, eq. 2), for rewards RSA-FT
 * (arXiv 2603.21175). The gradient there leads to weights whose neighbours are good too.
 * @param gradients of the loss, by parameter path
 * @param norm ‖g‖, over all of them together
 * @param radius ρ
 */
export async function atSharperWeights<T>(
  variables: Readonly<Record<string, Variable>>,
  { gradients, norm }: { readonly gradients: Gradients; readonly norm: Scalar },
  radius: number,
  run: () => Promise<T>,
): Promise<T> {
  const paths = Object.keys(gradients).filter((path) => Object.hasOwn(variables, path));
  const before = paths.map((path): Tensor => variables[path]!.clone());
  const moved = tidy(() => {
    const scale = div(radius, maximum(norm, smallest));
    return paths.map((path) => add(variables[path]!, mul(gradients[path]!, scale)));
  });
  const assign = (values: readonly Tensor[]) => paths.forEach((path, i) => variables[path]!.assign(values[i]!));
  try {
    assign(moved);
    return await run();
  } finally {
    assign(before);
    dispose([...before, ...moved]);
  }
}
