/* global fetch */
// Runs in browsers: takes the model from the address that the page is given, and reports to it.
import { memory } from '@alignprop/autograd-ext/weights';
import { drawAndTrain } from './draw-and-train.mjs';

export async function run(home) {
  const paths = await (await fetch(`${home}/model.json`)).json();
  const contents = await Promise.all(
    paths.map(async (path) => [path, new Uint8Array(await (await fetch(`${home}/model/${path}`)).arrayBuffer())]),
  );
  return drawAndTrain(memory(Object.fromEntries(contents)));
}

export async function report(home) {
  const body = await run(home).then(JSON.stringify, (error) => `error: ${error?.stack ?? error}`);
  await fetch(`${home}/result`, { method: 'POST', body });
}
