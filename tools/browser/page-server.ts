import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { openPage } from './chromium.js';

const { resolve } = createRequire(import.meta.url);
const wasm = join(dirname(resolve('@tensorflow/tfjs-backend-wasm/package.json')), 'dist');
const onnxruntime = dirname(resolve('onnxruntime-web'));

/** A page to open. */
export interface ServedPage {
  readonly chromium: string;
  /** Its program, an ES module. */
  readonly program: string;
  /** The folder of the model that it fetches: /model.json lists the files, /model/… has them. */
  readonly model: string;
  /** The part of the page's address after `?`. */
  readonly query?: string;
  /** Flags of Chromium; by default it uses no GPU. */
  readonly flags?: readonly string[];
}

/**
 * Serves a page, opens it in headless Chromium, and returns what it posts to /result.
 * @throws what it posts to /error
 */
export async function servePage({ chromium, program, model, query = '', flags }: ServedPage): Promise<Buffer> {
  let [finish, fail]: [(body: Buffer) => void, (error: Error) => void] = [() => {}, () => {}];
  const report = new Promise<Buffer>((...both) => ([finish, fail] = both));
  const files = readdirSync(model, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(model.length + 1));
  const answer = async (path: string): Promise<[type: string, body: string | Uint8Array]> => {
    if (path === '/') return ['text/html', '<!doctype html><script type="module" src="/page.js"></script>'];
    if (path === '/page.js') return ['text/javascript', program];
    if (path === '/model.json') return ['application/json', JSON.stringify(files)];
    if (path.startsWith('/model/'))
      return ['application/octet-stream', await readFile(join(model, path.slice('/model/'.length)))];
    if (path.startsWith('/onnxruntime-web/'))
      return [
        path.endsWith('.mjs') ? 'text/javascript' : 'application/wasm',
        await readFile(join(onnxruntime, path.slice('/onnxruntime-web/'.length))),
      ];
    if (path.endsWith('.wasm')) return ['application/wasm', await readFile(join(wasm, path))];
    throw new Error(`nothing at ${path}`);
  };
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url!, 'http://localhost');
    if (pathname === '/result') void buffer(request).then(finish);
    if (pathname === '/error')
      void buffer(request).then((body) => fail(new Error(`the page says: ${body.toString()}`)));
    answer(pathname).then(
      ([type, body]) => response.writeHead(200, { 'content-type': type }).end(body),
      (error: unknown) => response.writeHead(404).end(String(error)),
    );
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as AddressInfo;
  try {
    return await openPage(chromium, `http://127.0.0.1:${port}/?${query}`, report, flags);
  } finally {
    server.close();
    server.closeAllConnections();
  }
}
