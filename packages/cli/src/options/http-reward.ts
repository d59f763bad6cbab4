import { splitCredentials } from '@alignprop/autograd-ext/outside';
import type { BlackBoxReward } from '@alignprop/rewards';
import { readBody } from '@alignprop/autograd-ext/outside';
import { outsideRun } from '@alignprop/rewards/interface';
import {
  MAX_ANSWER,
  parseAnswer,
  rewardRequest,
  shortened,
  TransientError,
  withRetries,
  type ServiceOptions,
} from './reward-protocol.js';

/** Repeated: too many requests, and failures of the server or of a proxy. */
const transientStatus = new Set([408, 425, 429, 500, 502, 503, 504]);

/**
 * A reward computed by an HTTP service: posts each batch as JSON (`rewardRequest`) and reads the scores. Sends the
 * environment variable ALIGNPROP_REWARD_TOKEN as a bearer token, unless the address has a name and password.
 * @throws when called, if the service does not answer in time after all attempts, or answers with something else
 */
export function httpReward(address: string, options: ServiceOptions): BlackBoxReward {
  return async (images, prompts, metadata, context = outsideRun) => {
    const body = await rewardRequest(images, prompts, metadata, context);
    return parseAnswer(await withRetries(() => post(address, body, options), options));
  };
}

async function post(given: string, body: string, { timeout }: ServiceOptions): Promise<string> {
  const token = process.env.ALIGNPROP_REWARD_TOKEN;
  const { address, authorization = token && `Bearer ${token}` } = splitCredentials(given);
  try {
    const response = await fetch(address, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/json', ...(authorization && { authorization }) },
      signal: AbortSignal.timeout(timeout * 1000),
    });
    const text = await readBody(response, MAX_ANSWER);
    if (response.ok) return text;
    const message = `answered HTTP ${response.status}: ${shortened(text) || response.statusText}`;
    if (!transientStatus.has(response.status)) throw new Error(message);
    const wait = Number(response.headers.get('retry-after') ?? NaN);
    throw new TransientError(message, Number.isFinite(wait) ? wait : undefined);
  } catch (error) {
    throw isConnectionFailure(error) ? failedConnection(error as Error, timeout) : error;
  }
}

/** Whether there was no answer: fetch throws a TypeError then, or the TimeoutError of the signal. */
const isConnectionFailure = (error: unknown): boolean =>
  error instanceof TypeError || (error instanceof Error && error.name === 'TimeoutError');

function failedConnection(error: Error, timeout: number): TransientError {
  if (error.name === 'TimeoutError')
    return new TransientError(`did not answer within ${timeout} s.`, undefined, { cause: error });
  const { code, message } = (error.cause ?? error) as NodeJS.ErrnoException;
  return new TransientError(`cannot be reached: ${message || code || error.message}.`, undefined, { cause: error });
}
