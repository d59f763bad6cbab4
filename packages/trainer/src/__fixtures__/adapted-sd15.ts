import { gather, reshape, tidy, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import type { Engine } from '@alignprop/autograd-ext';
import { DDIMScheduler, StableDiffusionPipeline } from '@alignprop/diffusion';
import { applyLora } from '@alignprop/lora';
import { fixturePath, toNHWC } from '../../../../fixtures/index.js';

/** Returns sd15-tiny with DDIM and the trainable adapter among some tensors, `<module>.lora_A.weight` and `lora_B`. */
export async function adaptedSD15(
  engine: Engine,
  tensors: Readonly<Record<string, Tensor>>,
  alpha: number,
): Promise<StableDiffusionPipeline> {
  const pipeline = await StableDiffusionPipeline.fromPretrained(fixturePath('sd15-tiny/model'), { engine });
  const modules = Object.fromEntries(
    Object.keys(tensors)
      .flatMap((name) => /^(.*)\.lora_A\.weight$/.exec(name)?.[1] ?? [])
      .map((module) => {
        const [a, b] = [tensors[`${module}.lora_A.weight`]!, tensors[`${module}.lora_B.weight`]!];
        return [module, { kind: 'lora', a, b, alpha } as const];
      }),
  );
  return pipeline.with({
    unet: pipeline.unet.withParams(await applyLora(pipeline.unet.params, { modules }, { trainable: true })),
    scheduler: DDIMScheduler.fromConfig(pipeline.scheduler.config),
  });
}

/** An entry of a list of batches, as `[B, h, w, C]`; torch has them as `[N, B, C, h, w]`. */
export const batchAt = (x: Tensor, i: number): Tensor4D =>
  tidy(() => toNHWC(reshape(gather(x, [i]), x.shape.slice(1))));
