import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { LiveReport } from './live-report.js';
import { reportPage } from './page.js';

/** A report that is served. */
export interface ServedReport {
  /** The address of its page. */
  readonly url: string;
  /** Ends the server and its connections. */
  close(): void;
}

interface Answer {
  readonly status: number;
  readonly type?: string;
  readonly body?: string | Uint8Array;
  /** Whether the address always has this content. */
  readonly isForever?: boolean;
}

const host = '127.0.0.1';

/**
 * Serves a report to this machine alone: the page, its content, and the pictures in it. No address leads to a file.
 * @param port 0 for one that is free
 * @throws if the port cannot be listened on
 */
export async function serveReport(report: LiveReport, port: number): Promise<ServedReport> {
  const server = createServer((request, response) => {
    answer(report, request).then(
      (found) => send(response, found),
      (error: unknown) => send(response, { status: 503, body: (error as Error).message }),
    );
  });
  server.listen(port, host);
  await once(server, 'listening').catch((cause: unknown) => {
    const why = (cause as Error).message;
    throw new Error(`--port: cannot serve: ${why}. Give another port, or 0 for one that is free.`, { cause });
  });
  const close = (): void => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://${host}:${(server.address() as AddressInfo).port}/`, close };
}

async function answer(report: LiveReport, { method, headers, url, socket }: IncomingMessage): Promise<Answer> {
  // A page of another site may have a name that leads here; its requests have that name in their header.
  const names = [host, 'localhost'].map((name) => `${name}:${socket.localPort}`);
  if (!names.includes(headers.host ?? '')) return { status: 403, body: `Open http://${names[0]!}/.` };
  if (method !== 'GET' && method !== 'HEAD') return { status: 405, body: 'Only GET and HEAD are answered.' };
  const { pathname, searchParams } = new URL(url ?? '/', `http://${host}`);
  const { version, content, pictures } = await report.current();
  if (pathname === '/') return { status: 200, type: 'text/html', body: await reportPage(content, { version }) };
  if (pathname === '/report.json') {
    if (searchParams.get('since') === version) return { status: 204 };
    return { status: 200, type: 'application/json', body: JSON.stringify({ ...content, live: { version } }) };
  }
  const png = pictures.get(pathname.slice(1));
  return png ? { status: 200, type: 'image/png', body: png, isForever: true } : { status: 404, body: 'Not found.' };
}

function send(response: ServerResponse, { status, type = 'text/plain', body, isForever = false }: Answer): void {
  response
    .writeHead(status, {
      'content-type': type.startsWith('image/') ? type : `${type}; charset=utf-8`,
      'cache-control': isForever ? 'max-age=86400, immutable' : 'no-store',
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'same-origin',
    })
    .end(response.req.method === 'HEAD' ? undefined : body);
}
