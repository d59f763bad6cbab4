import type { Tensor4D } from '@tensorflow/tfjs-core';
import { excerpt, excerptJson, parseJson } from '@alignprop/autograd-ext/outside';
import { encodePng, toUint8 } from '@alignprop/diffusion';
import type { BlackBoxReward, ReturnedScores } from '@alignprop/rewards';
import { describeValue } from '@alignprop/rewards/interface';

/** Limits of a reward that another program computes. */
export interface ServiceOptions {
  /** Seconds to wait for an answer. */
  readonly timeout: number;
  /** How often a failed request is repeated. */
  readonly retries: number;
}

export const defaultServiceOptions: ServiceOptions = { timeout: 60, retries: 3 };

/** Returns the request for a batch as JSON text of one line; the README describes its fields. */
export async function rewardRequest(...args: Required<Parameters<BlackBoxReward>>): Promise<string> {
  const [images, prompts, metadata, { step, epoch }] = args;
  const pngs = await pngFiles(images);
  return JSON.stringify({
    version: 1,
    images: pngs.map((png) => Buffer.from(png).toString('base64')),
    prompts,
    metadata: metadata.map((value) => value ?? null),
    step,
    epoch,
  });
}

async function pngFiles(images: Tensor4D): Promise<Uint8Array[]> {
  const [, height, width] = images.shape;
  return (await toUint8(images)).map((bytes) => encodePng(bytes, { height, width }));
}

/**
 * Reads the answer to a request: `{"scores": [...]}`, or the list alone.
 * @returns the scores, whose number and type are not checked yet
 * @throws if the text is not JSON, or the program answers `{"error": "..."}`
 */
export function parseAnswer(text: string): ReturnedScores {
  let answer: unknown;
  try {
    answer = parseJson(text);
  } catch (cause) {
    throw new Error(`answered '${shortened(text)}', expected JSON such as {"scores": [0.5]}.`, { cause });
  }
  if (Array.isArray(answer)) return answer as number[];
  const { scores, error } = (answer ?? {}) as { scores?: unknown; error?: unknown };
  if (error !== undefined) throw new Error(`answered with the error ${excerptJson(error)}.`);
  if (Array.isArray(scores)) return scores as number[];
  throw new Error(`answered ${describeValue(answer)}, expected {"scores": [0.5]}, one number an image.`);
}

/** The most bytes of an answer: a million scores. */
export const MAX_ANSWER = 2 ** 24;

/** The beginning of a text, in one line. */
export const shortened = (text: string): string => excerpt(text.slice(0, 1000).trim().replace(/\s+/g, ' '));

/** A failure that may pass: the request is worth repeating. */
export class TransientError extends Error {
  constructor(
    message: string,
    /** Seconds that the service asks to wait. */
    readonly retryAfter?: number,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/**
 * Repeats a request that fails with a TransientError, after 0.5, 1, 2 … seconds, at most 30, or as long as the service
 * asks.
 * @throws the last error
 */
export async function withRetries<T>(request: () => Promise<T>, { retries }: ServiceOptions): Promise<T> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await request();
    } catch (error) {
      if (!(error instanceof TransientError)) throw error;
      if (attempt === retries) throw new Error(`${error.message} (${attempt + 1} attempts)`, { cause: error });
      const seconds = Math.min(30, error.retryAfter ?? 0.5 * 2 ** attempt);
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    }
  }
}
