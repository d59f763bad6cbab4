import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

/** Returns the path of an installed Chromium, or the one that the environment variable CHROMIUM names. */
export function findChromium(): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const names = ['chromium', 'chromium-browser', 'google-chrome'];
  return (
    process.env.CHROMIUM ??
    names.flatMap((name) => folders.map((folder) => join(folder, name))).find((path) => existsSync(path))
  );
}

/** Opens a page in headless Chromium and closes it when `until` settles. */
export const openPage = <T>(
  chromium: string,
  url: string,
  until: Promise<T>,
  flags: readonly string[] = ['--disable-gpu'],
): Promise<T> => withChromium(chromium, [...flags, url], 'ignore', () => until);

/** Starts headless Chromium and ends it when `use` settles. @throws as `use`, and if Chromium ends before */
export async function withChromium<T>(
  chromium: string,
  args: readonly string[],
  stdio: StdioOptions,
  use: (child: ChildProcess) => Promise<T>,
): Promise<T> {
  const profile = await mkdtemp(join(tmpdir(), 'alignprop-chromium-'));
  const child = spawn(
    chromium,
    ['--headless=new', '--no-sandbox', '--disable-dev-shm-usage', `--user-data-dir=${profile}`, ...args],
    { stdio },
  );
  const ended = once(child, 'exit').then(() => {
    throw new Error(`withChromium: ${chromium} ended before the page was done.`);
  });
  try {
    return await Promise.race([use(child), ended]);
  } finally {
    ended.catch(() => {});
    child.kill();
    await ended.catch(() => {});
    await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}
