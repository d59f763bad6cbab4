import { beforeAll, describe, expect, it } from 'vitest';
import { add, mul, slice, split, sum, type Tensor, type Tensor3D, type Tensor4D } from '@tensorflow/tfjs-core';
import { useBackend, type ModelFunction, type Params } from '@alignprop/autograd-ext';
import { directory, loadParams, memory, openWeights } from '@alignprop/autograd-ext/weights';
import { expectClose, fixtureJson, fixturePath, toNCHW, toNHWC } from '../../../../fixtures/index.js';
import { describeOnEngines } from '../__fixtures__/reference.js';
import { objectDetection } from './object-detection.js';
import { yolosConfig } from './yolos-config.js';
import { yolosBoxes, yolosDetections, yolosLogits, yolosPixels, yolosSpec, type YolosParams } from './yolos.js';

const folder = 'reward-object-detection';
const { cases, target, threshold, height } = fixtureJson(`${folder}/case.json`);
const weightsOf = (model: string) => fixturePath(`${folder}/${model}`);
const configOf = (model: string) => yolosConfig(fixtureJson(`${folder}/${model}/config.json`));
const modelOf = async (model: string, goal: 'absent' | 'present') =>
  (await objectDetection({ target, goal, threshold, height, weights: weightsOf(model), load: false })).model;

async function paramsOf(model: string): Promise<Params> {
  const source = directory(weightsOf(model));
  return loadParams(yolosSpec(configOf(model)), await openWeights(source, 'model'), {
    owner: 'test',
    location: source.location,
  });
}

/** Logits, boxes and detection tokens of pixels. */
function detect(model: string, params: Params, pixels: Tensor) {
  const weights = params as unknown as YolosParams;
  const detections = yolosDetections(configOf(model), weights, pixels as Tensor4D);
  return [yolosLogits(weights, detections), yolosBoxes(weights, detections), detections] as const;
}

describeOnEngines('objectDetection', folder, (reference) => {
  describe.each(cases as { name: string; model: string; batch: number }[])('$name', ({ name, model, batch }) => {
    const of = (key: string) => reference.golden[`${name}.${key}`]!;
    it("detects as transformers' YolosForObjectDetection does, and has the gradient of the pixels", async () => {
      const outputs = (params: Params, images: Tensor) =>
        detect(model, params, yolosPixels(configOf(model), images as Tensor4D, height));
      const [logits, boxes] = await reference.engine.compile((params, images) => outputs(params, images!))(
        await paramsOf(model),
        toNHWC(of('images')),
      );
      expectClose(logits!, of('logits'), 1e-4, 'logits');
      expectClose(boxes!, of('pred_boxes'), 1e-4, 'pred_boxes');
      const projected: ModelFunction = (params, images) => {
        const [scores, places] = outputs(params, images!);
        return add(sum(mul(scores, of('R_logits'))), sum(mul(places, of('R_boxes'))));
      };
      const { inputs } = await reference.engine.compileVjp(projected, { wrt: [0] })(await paramsOf(model), [
        toNHWC(of('images')),
      ]);
      expectClose(toNCHW(inputs[0]!), of('grad_outputs'), 1e-3, 'grad_outputs');
    });

    it.each(['absent', 'present'] as const)('scores whether the object is %s, and has its gradient', async (goal) => {
      const { score, params } = await modelOf(model, goal);
      const { value, inputs } = await reference.engine.compileVjp(score, { wrt: [0] })(params, [toNHWC(of('images'))]);
      expectClose(value, of(goal), 1e-4, goal);
      expectClose(toNCHW(inputs[0]!), of(`grad_${goal}`), 1e-3, `grad_${goal}`);
    });

    it('gives an image the same score in a batch as alone', async () => {
      const { score, params } = await modelOf(model, 'absent');
      const run = reference.engine.compile(score);
      for (const [i, image] of split(toNHWC(of('images')), batch).entries()) {
        const [alone] = await run(params, image);
        expect(alone!.dataSync()[0]).toBeCloseTo(of('absent').dataSync()[i]!, 5);
      }
    });
  });

  it('has the pixel values and detection tokens of the reference', async () => {
    const of = (key: string) => reference.golden[`mid.1x33x17.${key}`]!;
    const pixels = yolosPixels(configOf('mid'), toNHWC(of('images')), height);
    expectClose(toNCHW(pixels), of('pixel_values'), 1e-4, 'pixel_values');
    const [, , detections] = await reference.engine.compile((params, x) => detect('mid', params, x!))(
      await paramsOf('mid'),
      pixels,
    );
    const { num_detection_tokens: count, hidden_size: width } = configOf('mid');
    const all = of('last_hidden_state') as Tensor3D;
    expectClose(detections!, slice(all, [0, all.shape[1]! - count, 0], [1, count, width]), 1e-4, 'last_hidden_state');
  });
});

describe('objectDetection', () => {
  beforeAll(() => useBackend('wasm'));

  it('lists the labels of the detector if it does not know the target', async () => {
    await expect(objectDetection({ target: 'dragon', weights: weightsOf('plain') })).rejects.toThrow(
      "target got 'dragon', expected a label that the detector knows: person, dog, cat.",
    );
  });

  it('lists all options that are out of range', async () => {
    const options = { target, weights: weightsOf('plain'), goal: 'gone' as 'absent', threshold: 1, height: 15 };
    await expect(objectDetection(options)).rejects.toThrow(/goal got 'gone'.*threshold got 1.*height got 15/);
  });

  it('rejects a config with unsupported fields', async () => {
    const weights = memory({ 'config.json': JSON.stringify({ hidden_act: 'relu', hidden_size: 10, image_size: [5] }) });
    await expect(objectDetection({ target, weights })).rejects.toThrow(/hidden_act got "relu"/);
  });

  it('leaves its weights in their files if load is false', async () => {
    const reward = await objectDetection({ target, weights: weightsOf('plain'), load: false });
    expect(() => reward(undefined as never, [''], [{}])).toThrow('still in its file');
    expect(Object.keys(reward.model.params)).toEqual(['vit', 'class_labels_classifier']);
  });
});
