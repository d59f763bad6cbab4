// Rewards alone, in a project without models or training: ranks PNG files by a sum of rewards. Arguments: the files;
// without them, the pictures of docs/.
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { useBackend } from '@alignprop/autograd-ext';
import { decodePng } from '@alignprop/diffusion';
import { jpegCompressibility, scaled, scoreImages, weightedSum, type RewardFunction } from '@alignprop/rewards';
import { max, mean, min, sub, type Tensor1D } from '@tensorflow/tfjs-core';

await useBackend('wasm');
const pictures = ['before-after.png', 'guards.png'].map((name) => new URL(`../docs/${name}`, import.meta.url));
const files = process.argv.length > 2 ? process.argv.slice(2) : pictures.map((url) => fileURLToPath(url));

/** How far the colours of the pixels are from grey, 0 to 1. */
const colourful: RewardFunction = (images) => mean(sub(max(images, 3), min(images, 3)), [1, 2]) as Tensor1D;
const reward = weightedSum({ colourful: [scaled(colourful, 10), 1], small: [jpegCompressibility(), 0.01] });

const images = await Promise.all(files.map(async (file) => decodePng(await readFile(file))));
const { scores, terms } = await scoreImages(reward, images);
const ranked = files.map((file, i) => ({ file: basename(file), score: scores[i]!, colourful: terms.colourful![i]! }));
for (const { file, score, colourful: colour } of ranked.sort((a, b) => b.score - a.score))
  console.log(`${score.toFixed(2)} ${file} (colourful ${colour.toFixed(2)})`);
