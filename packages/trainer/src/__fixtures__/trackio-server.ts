import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface TrackioRequest {
  readonly path: string;
  readonly token: string | string[] | undefined;
  readonly body: Buffer;
}

/** The write token that the server accepts. */
export const writeToken = 'secret';

/** A loopback server that answers as trackio/asgi_app.py and trackio/server.py do. */
export interface TrackioServer {
  readonly url: string;
  /** All requests so far. */
  readonly requests: readonly TrackioRequest[];
  /** The next requests with a token, as many as this, are answered with an error of the disk. */
  failures: number;
  /** The JSON bodies posted to a path. */
  posted(path: string): readonly unknown[];
  close(): Promise<void>;
}

export async function startTrackioServer(): Promise<TrackioServer> {
  const requests: TrackioRequest[] = [];
  const server = createServer((request, response) => {
    void read(request).then((body) => {
      const [path, token] = [request.url!, request.headers['x-trackio-write-token']];
      const [status, answer] = answerTo(path, token, body);
      requests.push({ path, token, body });
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    });
  });
  function answerTo(path: string, token: unknown, body: Buffer): [number, object] {
    if (path === '/version') return [200, { version: '0.43.0', api_version: 1, api_transport: 'http' }];
    if (token !== writeToken)
      return [400, { error: 'A write_token is required to log metrics or upload to this server.' }];
    if (started.failures-- > 0) return [500, { error: 'disk I/O error' }];
    if (path === '/api/upload') return [200, { paths: [`/tmp/trackio-upload-${body.length}.png`] }];
    return ['/api/bulk_log', '/api/bulk_upload_media'].includes(path)
      ? [200, { data: null }]
      : [404, { error: `Unknown API: ${path}` }];
  }
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const started: TrackioServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    requests,
    failures: 0,
    posted: (path) =>
      requests.filter((request) => request.path === path).map(({ body }) => JSON.parse(body.toString()) as unknown),
    close: () => new Promise((resolve) => server.close(() => resolve())),
  };
  return started;
}

async function read(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
