import { z } from 'zod';

/** A count: of epochs, steps, images. None of a run reaches a billion, and numbers beyond it are typing errors. */
export const positive = (max = 1_000_000_000) => z.int().min(1).max(max);
/** A count that may be 0, or the index of a step. */
export const from0 = (max = 1_000_000_000) => z.int().min(0).max(max);
/** The most denoising steps: as many as models are trained with. */
export const MAX_STEPS = 1000;
/** The largest number of a truncation: beyond the steps it only makes them rarer. */
export const MAX_DRAWN = 10_000;
/** A seed of a generator: any integer that a number holds. */
export const seed = () => z.int().min(0);
/** Images of a batch, which take memory at once. */
export const batch = () => positive(4096);
/** A side of an image in pixels: attention over more would take terabytes. */
export const pixels = () => positive(2 ** 14).multipleOf(8);
/** A number that multiplies others: beyond a billion float32 has no precision left for what is added to it. */
export const factor = () => z.number().max(1e9);
/** An option of evaluations that is that of training where it is null. */
export const asInTraining = <S extends z.ZodType>(schema: S, description: string) =>
  schema.nullable().default(null).describe(`${description} By default as in training.`);
/** A decay rate: 0 to below 1. */
export const decay = () => z.number().min(0).lt(1);
