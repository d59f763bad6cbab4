import { spawn } from 'node:child_process';
import { cpSync, mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { runPage } from './page-host.js';
import type { Project } from './project.js';

/** The packages of a Next.js application, pinned. */
export const nextPackages = ['next@16.4.6', 'react@19.3.1', 'react-dom@19.3.1'];

/** The numbers that the page computes in Chromium, and the route on the server. */
export interface NextResults {
  readonly page?: readonly number[];
  readonly route: { readonly results: readonly number[]; readonly engine: string };
}

/** Builds a Next.js application without settings, a client page and a route, starts it, and asks both. */
export async function runNext(project: Project, chromium: string | undefined): Promise<NextResults> {
  const { home, model, run } = project;
  mkdirSync(join(home, 'app/draw'), { recursive: true });
  for (const [from, to] of [
    ['next-page.jsx', 'page.jsx'],
    ['next-layout.jsx', 'layout.jsx'],
    ['next-route.mjs', 'draw/route.js'],
  ] as const)
    cpSync(join(home, from), join(home, 'app', to));
  const env = { NEXT_TELEMETRY_DISABLED: '1', MODEL: model };
  await run(['next', 'build'], env);
  const port = await freePort();
  const server = spawn(join(home, 'node_modules/.bin/next'), ['start', '-p', String(port)], {
    cwd: home,
    stdio: 'ignore',
    env: { ...process.env, NODE_OPTIONS: '', ...env },
  });
  try {
    const address = `http://127.0.0.1:${port}`;
    const response = await answered(`${address}/draw`);
    if (!response.ok) throw new Error(`the route answers ${response.status}: ${(await response.text()).slice(0, 500)}`);
    const route = (await response.json()) as NextResults['route'];
    return { route, page: chromium ? await runPage(chromium, { address }, model) : undefined };
  } finally {
    server.kill();
  }
}

/** Fetches from a server that is starting. */
async function answered(url: string, tries = 60): Promise<Response> {
  try {
    return await fetch(url);
  } catch (error) {
    if (tries === 0) throw error;
    await sleep(500);
    return answered(url, tries - 1);
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}
