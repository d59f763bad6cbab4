import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { openPage } from '../browser/chromium.js';

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
};

/** A page to open in a browser: a folder with its index.html, or the address of a server. */
export type Page = { readonly folder: string } | { readonly address: string };

/**
 * Opens a page that runs the program of client.mjs, and serves it the model.
 * @returns the numbers that the program reports
 * @throws if it reports an error, or nothing within five minutes
 */
export async function runPage(chromium: string, page: Page, model: string): Promise<number[]> {
  let finish: (body: string) => void = () => {};
  const report = new Promise<string>((resolve) => (finish = resolve));
  const server = createServer((request, response) => {
    answer(request, page, model, finish).then(
      ([type, body]) => response.writeHead(200, { 'content-type': type, 'access-control-allow-origin': '*' }).end(body),
      (error: unknown) => response.writeHead(404).end(String(error)),
    );
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const home = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const timer = setTimeout(() => finish('error: no report within five minutes'), 300_000);
  try {
    const body = await openPage(chromium, `${'folder' in page ? home : page.address}/?home=${home}`, report);
    if (body.startsWith('error:')) throw new Error(body);
    return JSON.parse(body) as number[];
  } finally {
    clearTimeout(timer);
    server.close();
    server.closeAllConnections();
  }
}

async function answer(
  request: IncomingMessage,
  page: Page,
  model: string,
  finish: (body: string) => void,
): Promise<[type: string, body: string | Uint8Array]> {
  const { pathname } = new URL(request.url!, 'http://localhost');
  if (pathname === '/result') {
    finish(await text(request));
    return ['text/plain', ''];
  }
  if (pathname === '/model.json') return ['application/json', JSON.stringify(filesIn(model))];
  if (pathname.startsWith('/model/'))
    return ['application/octet-stream', await readFile(join(model, pathname.slice('/model/'.length)))];
  if (!('folder' in page)) throw new Error(`nothing at ${pathname}`);
  const file = pathname === '/' ? '/index.html' : pathname;
  return [types[extname(file)] ?? 'application/octet-stream', await readFile(join(page.folder, file))];
}

const filesIn = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
