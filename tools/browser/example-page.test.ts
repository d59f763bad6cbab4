// Drives the page of examples/browser in a real browser, and compares it with Node.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { StableDiffusionPipeline } from '@alignprop/diffusion';
import { applyLora, loadLora } from '@alignprop/lora';
import { AlignPropTrainer, type StepMetrics } from '@alignprop/trainer';
import { mean, sub, maximum, unstack, type Tensor1D, type Tensor4D } from '@tensorflow/tfjs-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defaultSettings, pictureSeed, trainingConfig } from '../../examples/browser/settings.js';
import { findChromium } from './chromium.js';
import { DrivenPage } from './driven-page.js';
import { downloaded, serveExample, type ServedExample } from './example-page.js';

const model = fileURLToPath(new URL('../../packages/cli/models/tiny-emoji', import.meta.url));
const chromium = findChromium();
const prompts = ['cat face', 'lemon'];
const settings = { ...defaultSettings, steps: 3, denoisingSteps: 2, batch: 1 };

/** Keeps what the worker sends, and measures the longest time that the page could not react, in milliseconds. */
const recorder = `
  window.messages = [];
  window.Worker = class extends Worker {
    constructor(...args) {
      super(...args);
      this.addEventListener('message', ({ data }) => window.messages.push(data));
    }
  };
  window.longestGap = 0;
  let last = performance.now();
  setInterval(() => {
    window.longestGap = Math.max(window.longestGap, performance.now() - last);
    last = performance.now();
  }, 5);`;

const click = (id: string) => `document.getElementById('${id}').click()`;
const fill = (id: string, value: string) => `document.getElementById('${id}').value = ${JSON.stringify(value)}`;
const isIdle = `!document.getElementById('train').disabled`;
const status = `document.getElementById('status').textContent`;
/** The pixels of the pictures that the worker drew last, RGBA. */
const drawnPixels = `messages.findLast(({ kind, result }) => kind === 'done' && Array.isArray(result))
  .result.map(({ image }) => [...image.data])`;

describe.skipIf(!chromium)('the page of examples/browser, where Chromium is installed', () => {
  let served: ServedExample;
  let folder: string;
  let page: DrivenPage;
  let close: () => void;
  let closed: Promise<void>;
  let stepsOfNode: ReturnType<typeof trainInNode> | undefined;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'alignprop-downloads-'));
    served = await serveExample();
    page = await new Promise<DrivenPage>((resolve, reject) => {
      closed = DrivenPage.open(chromium!, (opened) => {
        resolve(opened);
        return new Promise((settle) => (close = settle));
      });
      closed.catch(reject);
    });
    await page.send('Page.addScriptToEvaluateOnNewDocument', { source: recorder });
    await openWith('tfjs');
    expect(await page.evaluate(status)).toBe('Ready: tiny-emoji on tfjs, wasm.');
  });
  afterAll(async () => {
    close?.();
    await closed;
    await served?.close();
    await rm(folder, { recursive: true, force: true });
  });

  /** Opens the page with an engine, prompts and settings, and waits until the model is there. */
  const openWith = async (engine: string) => {
    const { steps, denoisingSteps, batch } = settings;
    const controls = new URLSearchParams({ engine, prompts: prompts.join('\n'), steps: `${steps}` });
    controls.set('denoising', `${denoisingSteps}`);
    controls.set('batch', `${batch}`);
    await page.send('Page.navigate', { url: `${served.address}?${controls.toString()}` });
    await page.waitFor(`document.readyState === 'complete' && ${status}.startsWith('Ready')`);
  };
  const expectStepsOfNode = async () => {
    const steps = await page.evaluate<StepMetrics[]>(
      `messages.filter(({ kind }) => kind === 'step').map(({ metrics }) => metrics)`,
    );
    const expected = await (stepsOfNode ??= trainInNode());
    expect(steps).toHaveLength(expected.length);
    steps.forEach(({ rewardMean, loss, gradNorm }, i) => {
      expect(Math.abs(rewardMean - expected[i]!.rewardMean), `reward of step ${i}`).toBeLessThan(1e-4);
      expect(Math.abs(loss - expected[i]!.loss), `loss of step ${i}`).toBeLessThan(1e-4);
      expect(Math.abs(gradNorm / expected[i]!.gradNorm - 1), `gradient of step ${i}`).toBeLessThan(1e-3);
    });
  };
  const train = async (reward: string) => {
    await page.evaluate(`${fill('reward', reward)}; ${click('train')}`);
    await page.waitFor(isIdle);
  };

  it('is reached by keyboard, and fits a phone', async () => {
    const reached: string[] = [];
    for (let i = 0; i < 8; i++) {
      await page.press('Tab', 9);
      reached.push(await page.evaluate('document.activeElement.id'));
    }
    expect(reached).toEqual(['prompts', 'example', 'reward', 'steps', 'rate', 'denoising', 'batch', 'train']);
    const phone = { width: 390, height: 844, deviceScaleFactor: 2, mobile: true };
    await page.send('Emulation.setDeviceMetricsOverride', phone);
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(phone.width);
  });

  it('trains with the numbers of Node, and stays responsive', async () => {
    const now = () => page.evaluate<number>('performance.now()');
    const started = await now();
    await page.evaluate('longestGap = 0');
    await page.evaluate(click('train'));
    await page.waitFor(isIdle);
    expect(await page.evaluate(status)).toBe('Trained for 3 steps.');
    // On the page's own thread each of the three steps would be a gap of a third of the time.
    expect(await page.evaluate<number>('longestGap')).toBeLessThan(((await now()) - started) / 4);
    await expectStepsOfNode();
  });

  it('saves an adapter that draws the same in Node, undoes the training, and opens the file again', async () => {
    await page.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: folder });
    await page.evaluate(click('download'));
    const file = await downloaded(folder, 'pytorch_lora_weights.safetensors');
    const pictures = await page.evaluate<number[][]>(drawnPixels);
    expect(largestDifference(pictures, await drawInNode(file))).toBeLessThanOrEqual(1);

    await page.evaluate(click('undo'));
    await page.waitFor(isIdle);
    expect(await page.evaluate(status)).toBe('The model is as it was.');
    expect(await page.evaluate(`document.querySelector('.compared')`)).toBeNull();

    const { root } = await page.send('DOM.getDocument');
    const { nodeId } = await page.send('DOM.querySelector', { nodeId: root.nodeId, selector: '#file' });
    await page.send('DOM.setFileInputFiles', { nodeId, files: [file] });
    await page.waitFor(`${status}.startsWith('Opened')`);
    expect(await page.evaluate<number[][]>(drawnPixels)).toEqual(pictures);
  });

  it.each([
    ['while it runs', '(images) => {\n  return tf.nothing(images);\n}', /^Line 2: .*tf\.nothing is not a function$/],
    ['of its syntax', '(images) => {\n  const x = 1;\n  return tf.mean(images [1, 2)\n}', /^Line 3: /],
    ['of its type', '7;', /^The reward is a value of the type 'number', expected a function: \(images\) => …$/],
  ])('shows an error in the reward %s, with its line', async (_, reward, fault) => {
    await train(reward);
    expect(await page.evaluate(`document.getElementById('fault').textContent`)).toMatch(fault);
  });

  it('stops a run, and one whose reward never returns', async () => {
    await page.evaluate(`messages.length = 0; ${fill('steps', '500')}`);
    await page.evaluate(`${fill('reward', 'rewards.jpegCompressibility();')}; ${click('train')}`);
    await page.waitFor(`messages.some(({ kind }) => kind === 'step')`);
    await page.evaluate(click('stop'));
    await page.waitFor(isIdle);
    expect(await page.evaluate(status)).toMatch(/^Stopped after \d+ steps?\.$/);

    await page.evaluate(`${fill('reward', '() => { for (;;); }')}; ${click('train')}`);
    await page.evaluate(`${click('stop')}; ${click('stop')}`);
    await page.waitFor(isIdle);
    expect(await page.evaluate(status)).toBe('Nothing was trained.');
  });

  it('trains on ONNX Runtime with the numbers of Node, where a GPU was asked for and there is none', async () => {
    await openWith('webgpu');
    expect(await page.evaluate(status)).toContain('on onnxruntime, cpu. webgpu: there is no GPU for WebGPU.');
    await page.evaluate(click('train'));
    await page.waitFor(isIdle);
    expect(await page.evaluate(status)).toBe('Trained for 3 steps.');
    await expectStepsOfNode();
  });
});

/** The reward that the page begins with. */
const red = (images: Tensor4D): Tensor1D => {
  const [r, g, b] = unstack(images, 3);
  return mean(sub(r!, maximum(g!, b!)), [1, 2]);
};

const openModel = async () => {
  await useBackend('wasm');
  return StableDiffusionPipeline.fromPretrained(model, { engine: new TfjsEngine() });
};

async function trainInNode(): Promise<readonly StepMetrics[]> {
  const pipeline = await openModel();
  const trainer = new AlignPropTrainer({
    config: trainingConfig(settings, pipeline.kind),
    pipeline,
    promptFunction: (generator) => prompts[generator.randint(0, prompts.length, 1)[0]!]!,
    rewardFunction: red,
  });
  const metrics: StepMetrics[] = [];
  for await (const step of trainer.train()) metrics.push(step);
  return metrics;
}

/** Draws with an adapter's file, as RGB bytes. */
async function drawInNode(file: string): Promise<Uint8Array[]> {
  const pipeline = await openModel();
  const unet = await applyLora(pipeline.unet.params, await loadLora(file));
  const images = await pipeline.withParams({ unet }).generate({
    prompt: prompts,
    numInferenceSteps: settings.denoisingSteps,
    guidanceScale: 4,
    seed: prompts.map((_, i) => pictureSeed + i),
  });
  return images.map(({ data }) => data);
}

/** The largest difference of two lists of pictures, of which the first are RGBA and the others RGB. */
const largestDifference = (rgba: readonly (readonly number[])[], rgb: readonly Uint8Array[]): number =>
  Math.max(
    ...rgba.flatMap((pixels, i) =>
      pixels.filter((_, at) => at % 4 !== 3).map((value, at) => Math.abs(value - rgb[i]![at]!)),
    ),
  );
