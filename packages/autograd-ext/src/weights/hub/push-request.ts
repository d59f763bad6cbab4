import { readBody } from '../../outside/body.js';
import { excerpt } from '../../outside/excerpt.js';
import { parseJson } from '../../outside/json.js';
import { maskSecrets } from '../../outside/secrets.js';
import { hubFetch } from './hub-fetch.js';
import { HubRefusal, HubUnreachableError, waitOf } from './hub-request.js';
import type { HubSettings } from './hub-settings.js';
import { withRetries } from './retries.js';

/** Seconds to wait for the answer to a request without a body. */
const ANSWER = 60;
/** Bytes a second below which an upload counts as stalled. */
const SLOWEST = 50_000;
/** The most bytes of an answer: lists of commits are the longest. */
const MAX_ANSWER = 2 ** 24;

/** A request that makes a commit has failed; `cause` says how. The commit may have been made all the same. */
export class CommitFailure extends Error {
  override readonly name = 'CommitFailure';
}

/**
 * Returns a `fetch` for uploads to a repository, which @huggingface/hub takes: through the proxy of the environment,
 * with a time limit, and with the token for the hub's own addresses alone. It reads answers whole, and repeats requests
 * that fail for a reason that may pass, except those that make a commit.
 * @param timeout seconds to wait for the answer to a request without a body; 60 by default
 * @returns a function that throws HubRefusal where the hub refuses, HubUnreachableError where nothing answers or
 *   something else does, CommitFailure for either where a commit was to be made, or the reason of the signal
 */
export function pushFetch(settings: HubSettings, id: string, timeout = ANSWER): typeof fetch {
  return async (input, init = {}) => {
    const url = requestUrl(input);
    const attempt = () => request(url, init, settings, id, timeout);
    if (!/\/commit\/[^/]+$/.test(new URL(url).pathname)) return withRetries(settings, attempt);
    try {
      return await attempt();
    } catch (cause) {
      settings.signal?.throwIfAborted();
      throw new CommitFailure(`hub: the commit to '${id}' failed`, { cause });
    }
  };
}

const requestUrl = (input: Parameters<typeof fetch>[0]): string =>
  typeof input === 'string' ? input : input instanceof URL ? input.href : input.url;

async function request(
  url: string,
  { signal: librarySignal, ...init }: RequestInit,
  settings: HubSettings,
  id: string,
  timeout: number,
): Promise<Response> {
  const { endpoint, signal } = settings;
  const limit = AbortSignal.timeout(Math.ceil(1000 * (timeout + sizeOf(init.body) / SLOWEST)));
  const signals = [limit, ...(signal ? [signal] : []), ...(librarySignal ? [librarySignal] : [])];
  const headers = headersFor(url, new Headers(init.headers), settings);
  const send = await hubFetch();
  let [response, text]: [Response | undefined, string] = [undefined, ''];
  try {
    response = await send(url, { ...init, headers, signal: AbortSignal.any(signals) });
    text = await readBody(response, MAX_ANSWER);
  } catch (cause) {
    signal?.throwIfAborted();
    if (!response || response.status < 400) throw unreachable(url, id, settings, cause);
  }
  const { status } = response;
  if (status >= 400)
    throw new HubRefusal(
      describe(url, response, text, settings, id),
      status,
      response.headers.get('x-error-code') ?? '',
      waitOf(response.headers),
    );
  if (isApi(url, endpoint) && text !== '') checkJson(text, url, settings);
  const isEmpty = [204, 205, 304].includes(status);
  return new Response(isEmpty ? null : text, { status, headers: response.headers });
}

/** Bytes of a body of the kinds that are uploaded. */
const sizeOf = (body: RequestInit['body']): number =>
  body instanceof Blob ? body.size : typeof body === 'string' ? body.length : 0;

/** Whether a request is one to the hub itself, rather than to the store of large files. */
const isApi = (url: string, endpoint: string): boolean =>
  url.startsWith(`${endpoint}/api/`) || (url.startsWith(`${endpoint}/`) && url.endsWith('/info/lfs/objects/batch'));

/** Addresses of the store hold their permission themselves, and get no token. */
function headersFor(url: string, headers: Headers, { token, credentials, endpoint }: HubSettings): Headers {
  headers.set('user-agent', 'alignprop');
  headers.set('accept-encoding', 'identity');
  headers.delete('authorization'); // @huggingface/hub knows no token here
  const authorization = credentials ?? (token && `Bearer ${token}`);
  if (authorization && isApi(url, endpoint)) headers.set('authorization', authorization);
  return headers;
}

function unreachable(url: string, id: string, { endpoint }: HubSettings, cause: unknown): HubUnreachableError {
  const host = isApi(url, endpoint) ? endpoint : new URL(url).origin;
  return new HubUnreachableError(
    `hub: no answer from ${host} for '${id}'. Check the network connection, a proxy, and HF_ENDPOINT.`,
    { cause },
  );
}

function checkJson(text: string, url: string, { endpoint }: HubSettings): void {
  try {
    parseJson(text);
  } catch (cause) {
    const path = url.slice(endpoint.length);
    throw new HubUnreachableError(
      `hub: '${path}' of ${endpoint} got another answer, expected JSON. Check that HF_ENDPOINT is a Hugging Face hub.`,
      { cause },
    );
  }
}

/** Advice by status; others ask to try again. */
const advice: Readonly<Record<number, string>> = {
  401: 'The token is not accepted: make one that may write at {endpoint}/settings/tokens, and set HF_TOKEN to it.',
  403: 'The token may not do this: give it write access to the repository at {endpoint}/settings/tokens.',
  404: 'Check the id and the revision; a token without access to a private repository gets the same answer.',
  413: 'A file is larger than the hub takes.',
  429: 'Wait, and push again.',
};

/** Describes a refusal with the hub's own words, and says what to do. */
function describe(url: string, response: Response, text: string, settings: HubSettings, id: string): string {
  const { endpoint } = settings;
  const host = isApi(url, endpoint) ? endpoint : new URL(url).origin;
  const said = maskSecrets(messageOf(text) ?? response.headers.get('x-error-message') ?? response.statusText);
  const what = (advice[response.status] ?? 'Push again later.').replace('{endpoint}', endpoint);
  return `hub: pushing to '${id}' got ${response.status} from ${host}: ${sentence(excerpt(said, 300))} ${what}`;
}

const sentence = (text: string): string => (/[.!?…]$/.test(text) ? text : `${text}.`);

/** The message in the body of an error, which is JSON. */
function messageOf(text: string): string | undefined {
  try {
    const { error, message } = parseJson(text) as Readonly<Record<string, unknown>>;
    return [error, message].find((said) => typeof said === 'string');
  } catch {
    return undefined;
  }
}
