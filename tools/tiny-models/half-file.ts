import type { Tensor } from '@tensorflow/tfjs-core';
import { saveSafetensors } from '@alignprop/autograd-ext/weights';

/** Writes tensors to a safetensors file in float16. */
export async function saveHalf(path: string, tensors: Readonly<Record<string, Tensor>>): Promise<void> {
  const halves = await Promise.all(
    Object.entries(tensors).map(async ([name, tensor]) => {
      const data = await tensor.data<'float32'>();
      return [name, { dtype: 'F16', shape: tensor.shape, data }] as const;
    }),
  );
  await saveSafetensors(path, Object.fromEntries(halves), { format: 'pt' });
}
