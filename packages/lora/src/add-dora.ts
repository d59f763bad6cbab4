import { flatten, mapLeaves, type Params, type TorchGenerator } from '@alignprop/autograd-ext';
import { dispose, tensor } from '@tensorflow/tfjs-core';
import { addLora, asVariable } from './add-lora.js';
import type { LoraConfig } from './lora-config.js';
import { LoraLayer } from './lora-layer.js';
import { rowLengths } from './low-rank-change.js';

/**
 * Adds new trainable DoRA adapters (Liu et al. 2024, "DoRA"), as `addLora` adds LoRA. m starts as the lengths of the
 * weights' rows, so that a new adapter does not change the output; the weights are read for this.
 * @param options.exactGradient see `Dora.exactGradient`; false by default, as in peft
 * @throws as `addLora`; an error of reading a weight leaves nothing behind
 */
export async function addDora(
  params: Params,
  config: LoraConfig,
  generator: TorchGenerator,
  { exactGradient = false }: { exactGradient?: boolean } = {},
): Promise<Params> {
  const before = flatten(params);
  const adapted = addLora(params, config, generator);
  const layers = Object.entries(flatten(adapted)).filter(
    (entry): entry is [string, LoraLayer] => entry[1] instanceof LoraLayer && entry[1] !== before[entry[0]],
  );
  try {
    const lengths = new Map<string, Float32Array>();
    for (const [path, { base }] of layers) lengths.set(path, await rowLengths(base));
    return mapLeaves(adapted, (path, leaf) => {
      const values = lengths.get(path);
      if (!values) return leaf;
      const magnitude = asVariable(() => tensor(values));
      return new LoraLayer({ ...(leaf as LoraLayer), dora: { magnitude, axis: 'output', exactGradient } });
    });
  } catch (error) {
    for (const [, { loraA, loraB }] of layers) dispose([loraA, loraB]);
    throw error;
  }
}
