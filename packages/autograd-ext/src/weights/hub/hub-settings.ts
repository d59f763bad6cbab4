/** The state of a download. */
export interface DownloadProgress {
  /** The id of the repository. */
  readonly id: string;
  readonly path: string;
  /** Bytes received so far, including those of an earlier, interrupted download. */
  readonly received: number;
  /** Bytes of the whole file. */
  readonly total: number;
}

/** Options of `hub`. Those that are absent are taken from the environment. */
export interface HubOptions {
  /** A branch, tag or commit. By default `main`. */
  readonly revision?: string;
  /** Defaults to HF_TOKEN, then the file that `hf auth login` writes (HF_TOKEN_PATH or $HF_HOME/token). */
  readonly token?: string;
  /** Defaults to HF_HUB_CACHE, then $HF_HOME/hub. */
  readonly cacheDir?: string;
  /** Uses the cache only and sends no requests. By default the value of HF_HUB_OFFLINE. */
  readonly localFilesOnly?: boolean;
  /** Defaults to HF_ENDPOINT, then https://huggingface.co. */
  readonly endpoint?: string;
  /** Called when a download starts and after every piece. */
  readonly onProgress?: (progress: DownloadProgress) => void;
}

/** Options completed from the environment. */
export interface HubSettings {
  readonly revision: string;
  readonly token: string | undefined;
  readonly cacheDir: string;
  readonly localFilesOnly: boolean;
  readonly endpoint: string;
  readonly onProgress: (progress: DownloadProgress) => void;
}

/** Completes options from the environment variables that Python's huggingface_hub reads. */
export async function hubSettings({
  revision = 'main',
  token,
  cacheDir,
  localFilesOnly,
  endpoint,
  onProgress = () => {},
}: HubOptions): Promise<HubSettings> {
  const { env } = process;
  const { join } = await import('node:path');
  const home = await expand(env.HF_HOME || join(env.XDG_CACHE_HOME || '~/.cache', 'huggingface'));
  return {
    revision,
    token: (
      token ??
      (env.HF_TOKEN || env.HUGGING_FACE_HUB_TOKEN || (await readToken(env.HF_TOKEN_PATH || join(home, 'token'))))
    )?.trim(),
    cacheDir: await expand(cacheDir ?? (env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE || join(home, 'hub'))),
    localFilesOnly: localFilesOnly ?? /^(1|true|yes|on)$/i.test(env.HF_HUB_OFFLINE ?? ''),
    endpoint: (endpoint ?? (env.HF_ENDPOINT || 'https://huggingface.co')).replace(/\/+$/, ''),
    onProgress,
  };
}

/** Makes a path absolute; `~` is the home folder. */
async function expand(path: string): Promise<string> {
  const { resolve } = await import('node:path');
  const { homedir } = await import('node:os');
  return resolve(path.replace(/^~(?=$|[/\\])/, homedir()));
}

async function readToken(path: string): Promise<string | undefined> {
  const { readFile } = await import('node:fs/promises');
  return readFile(await expand(path), 'utf8').catch(() => undefined);
}
