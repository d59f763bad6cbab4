// An Express server that draws: GET /image?prompt=crab&seed=7 answers with a PNG file. Requests are drawn one after the
// other, since a pipeline draws one batch at a time; a client that goes away stops its picture between two steps.
// PORT is the port, by default one that is free; the argument is a model, a folder or a hub id.
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import express from 'express';
import { StableDiffusionPipeline } from '@alignprop/diffusion';

const embedded = fileURLToPath(new URL('../packages/cli/models/tiny-emoji', import.meta.url));
const pipeline = await StableDiffusionPipeline.fromPretrained(process.argv[2] ?? embedded);
const numInferenceSteps = Number(process.env.STEPS ?? 20);

let last: Promise<unknown> = Promise.resolve();
/** Waits for the pictures that were asked for before. */
function queued<T>(draw: () => Promise<T>): Promise<T> {
  const next = last.then(draw);
  last = next.catch(() => {});
  return next;
}

const app = express();
app.get('/image', async ({ query }, response) => {
  const { prompt, seed = '0' } = query;
  if (typeof prompt !== 'string' || typeof seed !== 'string' || !/^\d{1,9}$/.test(seed)) {
    response.status(400).send('GET /image?prompt=TEXT&seed=NUMBER');
    return;
  }
  const gone = new AbortController();
  response.on('close', () => gone.abort());
  const [image] = await queued(() =>
    pipeline.generate({ prompt, seed: Number(seed), numInferenceSteps, signal: gone.signal }),
  );
  response.type('png').send(Buffer.from(await (await image!.toBlob()).arrayBuffer()));
});

const server = app.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${(server.address() as AddressInfo).port}/image?prompt=crab&seed=7`);
});
