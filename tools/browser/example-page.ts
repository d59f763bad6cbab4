import { mkdtemp, readdir, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createServer } from 'vite';

const root = fileURLToPath(new URL('../../examples/browser', import.meta.url));

/** The page of examples/browser, served. */
export interface ServedExample {
  readonly address: string;
  close(): Promise<void>;
}

/** Serves the page of examples/browser as `npm run page` does. */
export async function serveExample(): Promise<ServedExample> {
  const cacheDir = await mkdtemp(join(tmpdir(), 'alignprop-page-'));
  const server = await createServer({ root, cacheDir, logLevel: 'error', server: { port: 0, host: '127.0.0.1' } });
  await server.listen();
  const { port } = server.httpServer!.address() as AddressInfo;
  return {
    address: `http://127.0.0.1:${port}/`,
    async close() {
      await server.close();
      await rm(cacheDir, { recursive: true, force: true });
    },
  };
}

/** Returns the path of the file of that name in a folder once it is complete. */
export async function downloaded(folder: string, name: string): Promise<string> {
  for (let tries = 0; tries < 200; tries++) {
    if ((await readdir(folder)).includes(name)) return join(folder, name);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`downloaded: '${name}' did not arrive in ${folder}.`);
}
