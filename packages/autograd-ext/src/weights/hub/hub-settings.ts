/** A file's download, as it goes on. */
export interface DownloadProgress {
  /** The repository. */
  readonly id: string;
  readonly path: string;
  /** Bytes here so far, those of an earlier, interrupted download included. */
  readonly received: number;
  readonly total: number;
}

export interface HubOptions {
  /** A branch, tag or commit. */
  readonly revision?: string;
  /** By default HF_TOKEN, then the file that `hf auth login` writes (HF_TOKEN_PATH or $HF_HOME/token). */
  readonly token?: string;
  /** By default HF_HUB_CACHE, then $HF_HOME/hub. */
  readonly cacheDir?: string;
  /** Take what is in the cache and ask nobody. By default as HF_HUB_OFFLINE says. */
  readonly localFilesOnly?: boolean;
  /** By default HF_ENDPOINT, then https://huggingface.co. */
  readonly endpoint?: string;
  readonly onProgress?: (progress: DownloadProgress) => void;
}

/** Options with the environment's answers where they gave none. */
export interface HubSettings {
  readonly revision: string;
  readonly token: string | undefined;
  readonly cacheDir: string;
  readonly localFilesOnly: boolean;
  readonly endpoint: string;
  readonly onProgress: (progress: DownloadProgress) => void;
}

/** Reads the environment as Python's huggingface_hub does. */
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

async function expand(path: string): Promise<string> {
  const { resolve } = await import('node:path');
  const { homedir } = await import('node:os');
  return resolve(path.replace(/^~(?=$|[/\\])/, homedir()));
}

async function readToken(path: string): Promise<string | undefined> {
  const { readFile } = await import('node:fs/promises');
  return readFile(await expand(path), 'utf8').catch(() => undefined);
}
