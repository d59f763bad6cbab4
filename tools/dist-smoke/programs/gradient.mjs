// One gradient in bare Node: fails when tfjs-core's gradients, or those of our ops, were shaken out of the build.
import { grad, sum, square, tensor } from '@tensorflow/tfjs-core';
import { conv2d, silu, useBackend } from '@alignprop/autograd-ext';

await useBackend('wasm');
const squares = await grad((x) => sum(square(x)))(tensor([1, 2, 3])).data();
if (squares.join() !== '2,4,6') throw new Error(`gradient of a square got ${squares}, expected 2,4,6.`);
const weight = tensor([1, 2], [1, 2, 1, 1]);
const ours = await grad((x) => sum(silu(conv2d(x, weight))))(tensor([0, 0], [1, 1, 1, 2])).data();
if (ours.join() !== '0.5,1') throw new Error(`gradient of silu(conv2d) got ${ours}, expected 0.5,1.`);
console.log('gradient: ok');
