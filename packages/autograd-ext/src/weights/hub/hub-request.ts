import { excerpt } from '../../outside/excerpt.js';
import { hubFetch } from './hub-fetch.js';
import type { HubSettings } from './hub-settings.js';

/** The object of a request, for error messages. */
export interface HubTarget {
  readonly id: string;
  readonly revision: string;
  /** A file; absent for the repository itself. */
  readonly path?: string;
}

/** Thrown where the hub did not answer, or something else answered in its place. */
export class HubUnreachableError extends Error {
  override readonly name = 'HubUnreachableError';
}

/** Thrown where the hub answered with an error. */
export class HubRefusal extends Error {
  override readonly name = 'HubRefusal';

  /**
   * @param code the hub's own name of the error, such as 'GatedRepo'; empty if it gives none
   * @param wait seconds that the hub asks to wait before the next request
   */
  constructor(
    message: string,
    readonly status: number,
    readonly code: string,
    readonly wait: number | undefined,
  ) {
    super(message);
  }
}

/**
 * Sends a request to the hub. Follows redirects unless `init` says otherwise; the token, or the endpoint's name
 * and password, are sent to the endpoint's own origin alone: `fetch` removes them from redirects to others.
 * @throws HubUnreachableError if there is no answer, HubRefusal if the hub refuses, or the reason of the signal
 */
export async function hubRequest(
  url: string,
  settings: HubSettings,
  target: HubTarget,
  { signal: timeout, ...init }: RequestInit & { signal: AbortSignal },
): Promise<Response> {
  const { token, endpoint, credentials, signal } = settings;
  const headers = new Headers(init.headers);
  headers.set('user-agent', 'alignprop');
  headers.set('accept-encoding', 'identity'); // the length of a compressed answer is not that of the file
  const authorization = credentials ?? (token && `Bearer ${token}`);
  if (authorization && new URL(url).origin === new URL(endpoint).origin) headers.set('authorization', authorization);
  const signals = signal ? AbortSignal.any([signal, timeout]) : timeout;
  const send = await hubFetch();
  const response = await send(url, { ...init, headers, signal: signals }).catch((cause: unknown) => {
    signal?.throwIfAborted();
    throw new HubUnreachableError(
      `hub: no answer from ${endpoint} for '${target.id}'. Check the network connection, a proxy, and HF_ENDPOINT.`,
      { cause },
    );
  });
  if (response.status < 400) return response;
  await response.body?.cancel();
  throw new HubRefusal(
    `hub: ${describe(response, target, settings)}`,
    response.status,
    response.headers.get('x-error-code') ?? '',
    waitOf(response.headers),
  );
}

/** Returns the seconds that the hub asks to wait: of Retry-After, or of the limit that is used up. */
export function waitOf(headers: Headers): number | undefined {
  const retryAfter = headers.get('retry-after')?.trim() ?? '';
  if (/^\d+$/.test(retryAfter)) return Number(retryAfter);
  if (retryAfter) return Math.max(0, (Date.parse(retryAfter) - Date.now()) / 1000) || undefined;
  const [, reset] = /;\s*r=0\s*;\s*t=(\d+)/.exec(headers.get('ratelimit') ?? '') ?? [];
  return reset === undefined ? undefined : Number(reset);
}

/** Returns the address of a repository. */
export const pageOf = (id: string, { endpoint, repoType }: Pick<HubSettings, 'endpoint' | 'repoType'>): string =>
  `${endpoint}/${repoType === 'dataset' ? 'datasets/' : ''}${id}`;

/** Describes a refusal and says what to do. */
function describe(response: Response, { id, revision, path }: HubTarget, settings: HubSettings): string {
  const code = response.headers.get('x-error-code');
  const what = path === undefined ? `'${id}'` : `'${path}' of '${id}'`;
  const got = `got ${response.status} from ${settings.endpoint}`;
  const page = pageOf(id, settings);
  if (code === 'RevisionNotFound')
    return `revision '${revision}' of '${id}' ${got}: it does not exist. ` + `Check its branches and tags at ${page}.`;
  if (code === 'EntryNotFound' || (response.status === 404 && path !== undefined))
    return `${what} ${got}: revision '${revision}' has no such file.`;
  if (code === 'GatedRepo' || response.status === 403)
    return (
      `${what} ${got}: it is gated. Accept its conditions at ${page}, ` +
      "then set HF_TOKEN to a token that may read it (or run 'hf auth login')."
    );
  if (response.status === 401 || response.status === 404)
    return (
      `${what} ${got}: there is no such repository, or it is private. ` +
      'Check the spelling (a folder of this name does not exist either); for a private one set HF_TOKEN.'
    );
  const advice =
    response.status === 429 ? 'Wait, or set HF_TOKEN: the limit is higher for known users.' : 'Try again later.';
  return `${what} ${got}: ${excerpt(response.headers.get('x-error-message') ?? response.statusText, 300)}. ${advice}`;
}
