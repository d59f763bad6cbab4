// Runs in Node and its kin: takes the model's folder as its argument, and prints the results. Says on which engine a
// pipeline runs by default.
import { createEngine } from '@alignprop/autograd-ext';
import { drawAndTrain } from './draw-and-train.mjs';

(async () => {
  const results = await drawAndTrain(process.argv[2]);
  const { name } = await createEngine();
  console.log(JSON.stringify({ results, engine: name }));
})().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
