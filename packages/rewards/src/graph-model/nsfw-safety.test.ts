import { useBackend, vjp } from '@alignprop/autograd-ext';
import { checkGradient } from '@alignprop/autograd-ext/testing';
import { io, log, mul, randomUniform, sum, tensor, tensor1d, type Tensor, type Tensor4D } from '@tensorflow/tfjs-core';
import { loadLayersModel } from '@tensorflow/tfjs-layers';
import { MobileNetV2Model } from 'nsfwjs/models/mobilenet_v2';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose } from '../../../../fixtures/index.js';
import { graphModel } from './graph-model.js';
import { nsfwSafety, nsfwSource } from './nsfw-safety.js';

const noise = (shape: [number, number, number, number], seed = 1) =>
  randomUniform(shape, 0, 1, 'float32', seed) as Tensor4D;

/** Loads the model as nsfwjs does. */
async function loadByNsfwjs() {
  const json = ((await MobileNetV2Model.modelJson()) as { default: io.ModelJSON }).default;
  const shard = ((await MobileNetV2Model.weightBundles[0]!()) as { default: string }).default;
  const weightData = new Uint8Array(Buffer.from(shard, 'base64')).buffer;
  return loadLayersModel(
    io.fromMemory({
      modelTopology: json.modelTopology,
      weightSpecs: io.getWeightSpecs(json.weightsManifest),
      weightData,
    }),
  );
}

describe('nsfwSafety', () => {
  beforeAll(() => useBackend('wasm'));

  it('scores as the model of nsfwjs', async () => {
    const [own, theirs] = [await nsfwSafety(), await loadByNsfwjs()];
    const images = noise([2, 224, 224, 3]);
    const probabilities = theirs.predict(images) as Tensor;
    expectClose(own(images, ['', ''], []), sum(mul(probabilities, tensor1d([1, 0, 1, 0, 0])), 1), 1e-6, 'P(harmless)');
    own.dispose();
    theirs.dispose();
  });

  it('has the gradient of finite differences, on wasm and on cpu', async () => {
    // Compares log-probabilities, since one class has nearly all of the probability.
    const classes = tensor1d([1, -0.5, 0.3, 0.7, -1]);
    const reward = await graphModel({
      model: await nsfwSource(MobileNetV2Model),
      score: (p) => sum(mul(log(p!), classes), 1),
    });
    // A pixel of a smaller image would spread over many input pixels, and move many activations over kinks of relu6.
    const images = noise([1, 224, 224, 3]);
    const score = (x: Tensor) => reward(x as Tensor4D, [''], []);
    checkGradient(score, [images], { entries: 3, step: 1e-2, tolerance: 1e-2 });
    const onWasm = tensor(vjp((_, x) => score(x!), {}, [images]).inputs[0]!.dataSync(), images.shape);
    await useBackend('cpu');
    // Rounding decides on which side of a kink some activations are.
    expectClose(vjp((_, x) => score(x!), {}, [images]).inputs[0]!, onWasm, 1e-3, 'gradient');
    await useBackend('wasm');
    reward.dispose();
  });

  it('rejects a folder that does not exist', async () => {
    await expect(nsfwSafety({ model: 'no/such/folder' })).rejects.toThrow(
      "got 'no/such/folder', expected an existing folder",
    );
  });
});
