import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { etag, large, read, sha256, useFaultyHub } from './__fixtures__/faulty-hub.js';

const mock = useFaultyHub();

describe('a proxy', () => {
  let proxy: Server;
  let address: string;
  let tunnels: string[];
  let credentials: (string | undefined)[];
  const sockets = new Set<Socket>();

  beforeEach(async () => {
    [tunnels, credentials] = [[], []];
    proxy = createServer((_, response) => response.writeHead(405).end());
    proxy.on('connection', (socket: Socket) => sockets.add(socket));
    proxy.on('connect', (request, client: Socket) => {
      tunnels.push(request.url!);
      credentials.push(request.headers['proxy-authorization']);
      const [host, port] = request.url!.split(':');
      const server = connect(Number(port), host!.replace('hub.test', '127.0.0.1'), () => {
        client.write('HTTP/1.1 200 Connection established\r\n\r\n');
        server.pipe(client).pipe(server);
      });
      for (const socket of [server, client]) socket.on('error', () => socket.destroy());
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    address = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;
  });
  afterEach(() => {
    sockets.forEach((socket) => socket.destroy());
    proxy.close();
  });

  const hubPort = () => new URL(mock().endpoint).port;
  /** Opens the hub under a name that only the proxy can resolve. */
  const openThroughProxy = (options = {}) => mock().open({ endpoint: `http://hub.test:${hubPort()}`, ...options });

  it.each([
    ['HTTP_PROXY', 'http://'],
    ['http_proxy', 'http://'],
    ['HTTP_PROXY', ''],
    ['ALL_PROXY', 'http://'],
  ])('in %s as "%shost:port" is used', async (variable, scheme) => {
    vi.stubEnv(variable, `${scheme}${address}`);
    expect(sha256(await read(openThroughProxy(), large))).toBe(etag);
    expect(new Set(tunnels)).toEqual(new Set([`hub.test:${hubPort()}`, `localhost:${hubPort()}`]));
  });

  it('gets the name and password of its address', async () => {
    vi.stubEnv('HTTP_PROXY', `http://me:secret@${address}`);
    await openThroughProxy().list();
    expect(credentials).toEqual([`Basic ${Buffer.from('me:secret').toString('base64')}`]);
  });

  it('is asked for a tunnel to a hub on https', async () => {
    vi.stubEnv('HTTPS_PROXY', `http://${address}`);
    const source = mock().open({ endpoint: `https://hub.test:${hubPort()}` }); // the hub does not speak TLS
    await expect(source.list()).rejects.toThrow(
      /no answer from https:\/\/hub\.test:\d+ for 'org\/name'\. Check .*proxy/,
    );
    expect(tunnels).toEqual([`hub.test:${hubPort()}`]);
  });

  it('is not used for the hosts in NO_PROXY, nor for another protocol', async () => {
    vi.stubEnv('HTTP_PROXY', `http://${address}`);
    vi.stubEnv('NO_PROXY', '127.0.0.1,localhost');
    await read(mock().open(), large);
    vi.stubEnv('HTTP_PROXY', '');
    vi.stubEnv('HTTPS_PROXY', `http://${address}`);
    await mock().open().list();
    expect(tunnels).toEqual([]);
  });

  it('that does not answer is like a hub that does not answer: the cache is used', async () => {
    await read(mock().open(), large);
    vi.stubEnv('HTTP_PROXY', 'http://127.0.0.1:1');
    expect(sha256(await read(mock().open(), large))).toBe(etag);
  });

  it('of another kind than http is refused', async () => {
    vi.stubEnv('ALL_PROXY', 'socks5://127.0.0.1:1080');
    await expect(mock().open().list()).rejects.toThrow(
      /^hub: HTTP_PROXY or ALL_PROXY got a proxy that is not one of http, expected an address like 'http:/,
    );
  });

  it('stalls and aborts as a hub does', async () => {
    vi.stubEnv('HTTP_PROXY', `http://${address}`);
    let stalls = 1;
    mock().misbehave = (request) => request.url!.startsWith('/store/') && stalls-- > 0;
    expect(sha256(await read(openThroughProxy({ timeout: 0.5 }), large))).toBe(etag);
    const reason = new Error('enough');
    const controller = new AbortController();
    mock().misbehave = () => {
      controller.abort(reason);
      return true;
    };
    await expect(openThroughProxy({ signal: controller.signal }).list()).rejects.toBe(reason);
  });
});
