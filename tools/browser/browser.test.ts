// Runs the packages in a real browser: no module of Node, weights from memory, the wasm backend.
import { builtinModules, createRequire } from 'node:module';
import { readdir, readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import { jpegCompressibility } from '@alignprop/rewards';
import { findChromium, openPage } from './chromium.js';
import { drawing } from './drawing.js';

const model = fileURLToPath(new URL('../../packages/cli/models/tiny-emoji', import.meta.url));
const wasm = join(
  dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm/package.json')),
  'dist',
);
const chromium = findChromium();

/** Bundles the page's program from the packages' sources. */
async function bundle(): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('page.ts', import.meta.url))],
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'browser',
    conditions: ['@alignprop/source'],
    external: ['onnxruntime-*', 'nsfwjs/*', 'undici', 'node:*', ...builtinModules],
    logLevel: 'silent',
  });
  return outputFiles[0]!.text;
}

describe('the packages in a browser', () => {
  let server: Server;
  let posted: Promise<Float32Array>;

  beforeAll(async () => {
    const program = await bundle();
    const entries = await readdir(model, { recursive: true, withFileTypes: true });
    const paths = entries
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name).slice(model.length + 1));
    let [resolve, reject]: [(values: Float32Array) => void, (error: Error) => void] = [() => {}, () => {}];
    posted = new Promise((...both) => ([resolve, reject] = both));
    const answer = async (request: IncomingMessage): Promise<[type: string, body: string | Uint8Array]> => {
      const url = request.url!;
      if (url === '/') return ['text/html', '<!doctype html><script type="module" src="/page.js"></script>'];
      if (url === '/page.js') return ['text/javascript', program];
      if (url === '/model.json') return ['application/json', JSON.stringify(paths)];
      if (url.startsWith('/model/'))
        return ['application/octet-stream', await readFile(join(model, url.slice('/model/'.length)))];
      if (url.endsWith('.wasm')) return ['application/wasm', await readFile(join(wasm, url))];
      const body = await buffer(request);
      if (url === '/result')
        resolve(new Float32Array(body.buffer.slice(body.byteOffset, body.byteOffset + body.length)));
      if (url === '/error') reject(new Error(`the page says: ${body.toString()}`));
      return ['text/plain', ''];
    };
    server = createServer((request, response) => {
      answer(request).then(
        ([type, body]) => response.writeHead(200, { 'content-type': type }).end(body),
        (error: unknown) => response.writeHead(404).end(String(error)),
      );
    });
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  });
  afterAll(() => void server.close());

  it('draw the image and compute the reward that Node does', async ({ skip }) => {
    skip(!chromium, 'Chromium is not installed: install it (apt-get install chromium) or set CHROMIUM to its path');
    await useBackend('wasm');
    const pipeline = await StableDiffusionPipeline.fromPretrained(model, { engine: new TfjsEngine() });
    const { images } = await pipeline.generate(drawing.prompt, { ...drawing.options, outputType: 'tensor' });
    const rewards = jpegCompressibility()(images, [drawing.prompt], []);
    const expected = [...rewards.dataSync(), ...images.dataSync()];
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const actual = await openPage(chromium!, url, posted);
    expect(actual).toHaveLength(expected.length);
    actual.forEach((value, i) => expect(Math.abs(value - expected[i]!), `value ${i}`).toBeLessThan(1e-4));
  });
});
