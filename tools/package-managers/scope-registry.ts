import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';

const packages = fileURLToPath(new URL('../../packages', import.meta.url));

/** A registry of npm that has our packages alone. */
export interface ScopeRegistry {
  readonly address: string;
  close(): void;
}

/**
 * Serves packed packages as a registry does, so that package managers install them by name, with their ranges.
 * @param tarballs the packed packages by name without scope
 */
export async function serveScope(tarballs: Readonly<Record<string, string>>): Promise<ScopeRegistry> {
  let address = '';
  const server = createServer((request, response) => {
    const name = decodeURIComponent(request.url!).split('/').at(-1)!;
    const tarball = Object.values(tarballs).find((file) => basename(file) === name);
    if (tarball) return void response.writeHead(200).end(readFileSync(tarball));
    if (!tarballs[name]) return void response.writeHead(404).end('{}');
    const body = JSON.stringify(describe(name, tarballs[name], address));
    response.writeHead(200, { 'content-type': 'application/json' }).end(body);
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    address,
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

/** The document of a package with one version. */
function describe(name: string, tarball: string, address: string): object {
  const manifest = JSON.parse(readFileSync(`${packages}/${name}/package.json`, 'utf8')) as Record<string, string>;
  const { version } = manifest as { version: string };
  const digest = (algorithm: string, encoding: 'hex' | 'base64') =>
    createHash(algorithm).update(readFileSync(tarball)).digest(encoding);
  const dist = {
    tarball: `${address}/${basename(tarball)}`,
    shasum: digest('sha1', 'hex'),
    integrity: `sha512-${digest('sha512', 'base64')}`,
  };
  return {
    name: manifest.name,
    'dist-tags': { latest: version },
    versions: { [version]: { ...manifest, dist } },
    time: { [version]: '2026-01-01T00:00:00.000Z' }, // yarn 4 refuses what is a day old
  };
}
