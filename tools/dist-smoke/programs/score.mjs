// Rewards alone, in bare Node: a score and its gradient, with no model, adapter or trainer installed.
import { useBackend, vjp } from '@alignprop/autograd-ext';
import { jpegCompressibility, scoreImages } from '@alignprop/rewards';
import { fill } from '@tensorflow/tfjs-core';

await useBackend('wasm');
const reward = jpegCompressibility();
const { scores } = await scoreImages(reward, [{ data: new Uint8Array(16 * 16 * 3), height: 16, width: 16 }]);
if (Math.abs(scores[0] + 0.629) > 1e-4) throw new Error(`score of a black image got ${scores[0]}, expected -0.629.`);
const { inputs } = vjp((_, images) => reward(images, [''], [{}]), {}, [fill([1, 16, 16, 3], 0.5)]);
if (inputs[0].shape.join() !== '1,16,16,3')
  throw new Error(`gradient got shape [${inputs[0].shape}], expected that of the image.`);
console.log('score: ok');
