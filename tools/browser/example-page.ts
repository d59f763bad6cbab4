import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, preview, type InlineConfig } from 'vite';

const root = fileURLToPath(new URL('../../examples/browser', import.meta.url));

/** The built page of examples/browser, served. */
export interface ServedExample {
  readonly address: string;
  close(): Promise<void>;
}

/** Builds the page of examples/browser into a temporary folder and serves it. */
export async function serveExample(): Promise<ServedExample> {
  const outDir = await mkdtemp(join(tmpdir(), 'alignprop-page-'));
  const rollupOptions = { treeshake: false }; // and unminified: a third less time
  const settings = { outDir, minify: false, emptyOutDir: true, rollupOptions } as const;
  const options: InlineConfig = { root, logLevel: 'error', build: settings, worker: { rollupOptions } };
  await build(options);
  const server = await preview({ ...options, preview: { port: 0, host: '127.0.0.1' } });
  const { port } = server.httpServer.address() as { port: number };
  return {
    address: `http://127.0.0.1:${port}/`,
    async close() {
      await server.close();
      await rm(outDir, { recursive: true, force: true });
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
