import type { HubSettings } from './hub-settings.js';

/** The object of a request, for error messages. */
export interface HubTarget {
  readonly id: string;
  readonly revision: string;
  /** A file; absent for the repository itself. */
  readonly path?: string;
}

/** Thrown where the hub could not be reached. The caller may fall back to the cache. */
export class HubUnreachableError extends Error {
  override readonly name = 'HubUnreachableError';
}

/**
 * Sends a request to the hub. Follows redirects unless `init` says otherwise.
 * @throws HubUnreachableError if there is no answer; an Error that says what to do if the hub refuses
 */
export async function hubRequest(
  url: string,
  { token, endpoint }: HubSettings,
  target: HubTarget,
  init: RequestInit = {},
): Promise<Response> {
  const headers = new Headers(init.headers);
  headers.set('user-agent', 'alignprop');
  headers.set('accept-encoding', 'identity'); // the length of a compressed answer is not that of the file
  if (token) headers.set('authorization', `Bearer ${token}`);
  const response = await fetch(url, { ...init, headers }).catch((cause: unknown) => {
    throw new HubUnreachableError(
      `hub: no answer from ${endpoint} for '${target.id}'. Check the network connection, a proxy, and HF_ENDPOINT.`,
      { cause },
    );
  });
  if (response.status < 400) return response;
  await response.body?.cancel();
  throw new Error(`hub: ${describe(response, target, endpoint)}`);
}

/** Describes a refusal and says what to do. */
function describe(response: Response, { id, revision, path }: HubTarget, endpoint: string): string {
  const code = response.headers.get('x-error-code');
  const what = path === undefined ? `'${id}'` : `'${path}' of '${id}'`;
  const got = `got ${response.status} from ${endpoint}`;
  if (code === 'RevisionNotFound')
    return (
      `revision '${revision}' of '${id}' ${got}: it does not exist. ` +
      `Check its branches and tags at ${endpoint}/${id}.`
    );
  if (code === 'EntryNotFound' || (response.status === 404 && path !== undefined))
    return `${what} ${got}: revision '${revision}' has no such file.`;
  if (code === 'GatedRepo' || response.status === 403)
    return (
      `${what} ${got}: it is gated. Accept its conditions at ${endpoint}/${id}, ` +
      "then set HF_TOKEN to a token that may read it (or run 'hf auth login')."
    );
  if (response.status === 401 || response.status === 404)
    return (
      `${what} ${got}: there is no such repository, or it is private. ` +
      'Check the spelling (a folder of this name does not exist either); for a private one set HF_TOKEN.'
    );
  const advice =
    response.status === 429 ? 'Wait, or set HF_TOKEN: the limit is higher for known users.' : 'Try again later.';
  return `${what} ${got}: ${response.headers.get('x-error-message') ?? response.statusText}. ${advice}`;
}
