import { dispose } from '@tensorflow/tfjs-core';
import type { TorchGenerator } from '@alignprop/autograd-ext';
import { schedulerFor, type StableDiffusionPipeline } from '@alignprop/diffusion';
import { rowsOf } from './rows.js';

/** The steps of the student, and those of the teacher, which passes the same noise levels in between. */
export const steps = { student: 4, teacher: 20 } as const;

/** A chain of the teacher. */
export interface TeacherChain {
  readonly prompt: string;
  /** The encoding of the prompt, `[L, D]`. */
  readonly embeds: Float32Array;
  /** x_T and the latents after as many teacher's steps as a student's step takes, `[h, w, C]`, the last x_0. */
  readonly latents: readonly Float32Array[];
}

/**
 * Returns a function that draws chains with guidance and without noise (TCD with η = 0, which is DDIM), from a
 * normal x_T each.
 */
export function teacher(
  given: StableDiffusionPipeline,
  guidanceScale: number,
): (prompts: readonly string[], generator: TorchGenerator) => Promise<readonly TeacherChain[]> {
  const pipeline = given.with({ scheduler: schedulerFor('tcd', given.scheduler.config) });
  return async (prompts, generator) => {
    const { promptEmbeds } = await pipeline.encodePrompt(prompts);
    const { promptEmbeds: negativePromptEmbeds } = await pipeline.encodeNegativePrompt(undefined, prompts.length);
    const start = pipeline.prepareLatents({ batch: prompts.length, generator, numInferenceSteps: steps.teacher });
    const options = { promptEmbeds, negativePromptEmbeds, guidanceScale, numInferenceSteps: steps.teacher };
    const saved = [await rowsOf(start)];
    for await (const { step, latents, modelOutput } of pipeline.denoise(start, options)) {
      if ((step.index + 1) % (steps.teacher / steps.student) === 0) saved.push(await rowsOf(latents));
      dispose([latents, modelOutput]);
    }
    const embeds = await rowsOf(promptEmbeds);
    dispose([promptEmbeds, negativePromptEmbeds, start]);
    return prompts.map((prompt, i) => ({ prompt, embeds: embeds[i]!, latents: saved.map((rows) => rows[i]!) }));
  };
}
