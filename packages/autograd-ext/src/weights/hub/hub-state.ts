import { hubFetch } from './hub-fetch.js';
import { hubSettings, type HubAccess } from './hub-settings.js';

/** The settings of the hub that loading would use, and how the hub answers. Has no secrets. */
export interface HubState {
  readonly endpoint: string;
  readonly cacheDir: string;
  /** Whether the settings forbid requests (HF_HUB_OFFLINE). */
  readonly isOffline: boolean;
  /** `none`, or whether the hub accepts the token; `unchecked` if it did not answer. */
  readonly token: 'none' | 'valid' | 'refused' | 'unchecked';
  /** The error if the hub did not answer. */
  readonly problem?: string;
}

/**
 * Asks the hub who the token belongs to, which answers with or without one.
 * @param options as of `hub`; `timeout` is 3 seconds by default
 * @throws if a setting of the environment is wrong
 */
export async function hubState({ timeout = 3, ...options }: HubAccess = {}): Promise<HubState> {
  const { endpoint, cacheDir, localFilesOnly, token } = await hubSettings({ timeout, ...options });
  const unchecked = token ? 'unchecked' : 'none';
  const state = { endpoint, cacheDir, isOffline: localFilesOnly };
  if (localFilesOnly) return { ...state, token: unchecked };
  const send = await hubFetch();
  try {
    const response = await send(`${endpoint}/api/whoami-v2`, {
      headers: { 'user-agent': 'alignprop', ...(token && { authorization: `Bearer ${token}` }) },
      signal: AbortSignal.timeout(timeout * 1000),
    });
    await response.body?.cancel();
    if (!token) return { ...state, token: 'none' };
    if (response.ok) return { ...state, token: 'valid' };
    return { ...state, token: response.status === 401 ? 'refused' : 'unchecked' };
  } catch (error) {
    const { message, cause } = error as Error;
    return { ...state, token: unchecked, problem: cause instanceof Error ? cause.message : message };
  }
}
