import { rememberSecret, splitCredentials } from '../../outside/secrets.js';
import { optionNames } from '../../check-options.js';
import { ifPresent } from '../../if-present.js';

/** The state of a download. */
export interface DownloadProgress {
  /** The id of the repository. */
  readonly id: string;
  readonly path: string;
  /** Bytes received so far, including those of an earlier, interrupted download. */
  readonly received: number;
  /** Bytes of the whole file; undefined if the hub does not tell. */
  readonly total: number | undefined;
}

/** The kinds of repositories. */
export type RepoType = 'model' | 'dataset';

/** Options of `hub`. Those that are absent are taken from the environment. */
export interface HubOptions {
  /** The kind of repository; `model` by default. */
  readonly repoType?: RepoType;
  /** A branch, tag or commit. By default `main`. */
  readonly revision?: string;
  /**
   * The access token; false for none. Defaults to HF_TOKEN, then the file that `hf auth login` writes (HF_TOKEN_PATH or
   * $HF_HOME/token), unless HF_HUB_DISABLE_IMPLICIT_TOKEN is set.
   */
  readonly token?: string | false;
  /** Defaults to HF_HUB_CACHE, then $HF_HOME/hub. */
  readonly cacheDir?: string;
  /** Uses the cache only and sends no requests. By default the value of HF_HUB_OFFLINE. */
  readonly localFilesOnly?: boolean;
  /** Defaults to HF_ENDPOINT, then https://huggingface.co. */
  readonly endpoint?: string;
  /** Called when a download starts, after every piece, and when it starts again. */
  readonly progress?: (progress: DownloadProgress) => void;
  /** Called where loading continues in spite of a problem, such as a hub that does not answer. */
  readonly onWarning?: (message: string) => void;
  /** Stops requests, downloads and waiting when it is aborted; they throw its reason. */
  readonly signal?: AbortSignal;
  /**
   * Seconds without an answer, or without a byte of a download, after which a request has failed. Above 0. Defaults to
   * HF_HUB_ETAG_TIMEOUT for questions and HF_HUB_DOWNLOAD_TIMEOUT for files, then 10.
   */
  readonly timeout?: number;
  /** Seconds before the first repetition of a failed request; doubled before each further one. Defaults to 1. */
  readonly retryDelay?: number;
}

/** Options of `hub` that fit several repositories. */
export type HubAccess = Omit<HubOptions, 'revision' | 'repoType'>;

/** The names of `HubOptions`. */
export const hubOptionNames = optionNames<HubOptions>({
  repoType: true,
  revision: true,
  token: true,
  cacheDir: true,
  localFilesOnly: true,
  endpoint: true,
  progress: true,
  onWarning: true,
  signal: true,
  timeout: true,
  retryDelay: true,
});

/** The names of `HubAccess`. */
export const hubAccessNames = hubOptionNames.filter((name) => !['revision', 'repoType'].includes(name));

/** Options completed from the environment. */
export interface HubSettings {
  readonly repoType: RepoType;
  readonly revision: string;
  readonly token: string | undefined;
  readonly cacheDir: string;
  readonly localFilesOnly: boolean;
  /** Without a name and password. */
  readonly endpoint: string;
  /** The value of the header Authorization for name and password of the endpoint; sent in place of the token. */
  readonly credentials: string | undefined;
  readonly progress: (progress: DownloadProgress) => void;
  readonly onWarning: (message: string) => void;
  readonly signal: AbortSignal | undefined;
  /** Seconds to wait for the answer to a question. */
  readonly answerTimeout: number;
  /** Seconds to wait for the next byte of a file. */
  readonly downloadTimeout: number;
  readonly retryDelay: number;
}

/**
 * Completes options from the environment variables that Python's huggingface_hub reads.
 * @throws if a timeout is not a number above 0
 */
export async function hubSettings({
  repoType = 'model',
  revision = 'main',
  token,
  cacheDir,
  localFilesOnly,
  endpoint,
  progress = () => {},
  onWarning = () => {},
  signal,
  timeout,
  retryDelay = 1,
}: HubOptions): Promise<HubSettings> {
  const { env } = process;
  const { join } = await import('node:path');
  const { address, authorization: credentials } = splitCredentials(
    endpoint ?? (env.HF_ENDPOINT || 'https://huggingface.co'),
  );
  const home = await expand(env.HF_HOME || join(env.XDG_CACHE_HOME || '~/.cache', 'huggingface'));
  const usedToken = (token === false ? undefined : (token ?? (await implicitToken(home))))?.trim() || undefined;
  if (usedToken !== undefined) rememberSecret(usedToken);
  return {
    repoType,
    revision,
    token: usedToken,
    cacheDir: await expand(cacheDir ?? (env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(home, 'hub'))),
    localFilesOnly: localFilesOnly ?? isTrue(env.HF_HUB_OFFLINE || env.TRANSFORMERS_OFFLINE),
    endpoint: address.replace(/\/+$/, ''),
    credentials,
    progress,
    onWarning,
    signal,
    answerTimeout: timeoutOf('HF_HUB_ETAG_TIMEOUT', timeout),
    downloadTimeout: timeoutOf('HF_HUB_DOWNLOAD_TIMEOUT', timeout),
    retryDelay,
  };
}

const isTrue = (value = ''): boolean => /^(1|true|yes|on)$/i.test(value);

function timeoutOf(variable: string, timeout: number | undefined): number {
  const seconds = timeout ?? Number(process.env[variable] || 10);
  if (seconds > 0 && seconds < 1e6) return seconds;
  const [name, value] = timeout === undefined ? [variable, process.env[variable]] : ['timeout', timeout];
  throw new Error(`hub: ${name} got '${value}', expected seconds above 0. Correct it, or leave it out for 10.`);
}

async function implicitToken(home: string): Promise<string | undefined> {
  const { env } = process;
  const { join } = await import('node:path');
  const { readFile } = await import('node:fs/promises');
  if (isTrue(env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined;
  if (env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN) return env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN;
  return ifPresent(readFile(await expand(env.HF_TOKEN_PATH || join(home, 'token')), 'utf8'));
}

/** Makes a path absolute; `~` is the home folder, `$NAME` and `${NAME}` are variables of the environment. */
async function expand(path: string): Promise<string> {
  const { resolve } = await import('node:path');
  const { homedir } = await import('node:os');
  const expanded = path.replace(/\$(?:(\w+)|\{(\w+)\})/g, (written, plain: string, braced: string) => {
    return process.env[plain ?? braced] ?? written;
  });
  return resolve(expanded.replace(/^~(?=$|[/\\])/, homedir()));
}
