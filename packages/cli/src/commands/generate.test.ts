import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { decodePng, encodePng, schedulerFor, StableDiffusionPipeline, toUint8 } from '@alignprop/diffusion';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { fixturePath } from '../../../../fixtures/index.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { run } from '../program.js';

const printed = captureOutput();
const folder = temporaryFolder();

const model = ['--model', fixturePath('sd15-tiny/model')];
const settings = ['a cat', ...model, ...'--steps 3 --seed 7 --height 16 --width 16 --quiet'.split(' ')];
const lora = ['--lora', fixturePath('lora-r4/trl/pytorch_lora_weights.safetensors'), '--lora-scale', '4'];

describe('alignprop generate --lora-anneal', () => {
  it('generates other images than the model and the adapter do, and stores its value in the PNG file', async () => {
    const generate = async (name: string, ...args: string[]) => {
      const path = join(folder, name);
      expect(await run(['generate', ...settings, ...args, '-o', path])).toBe(0);
      return { pixels: [...decodePng(readFileSync(path)).data], text: readFileSync(path, 'latin1') };
    };
    const [plain, tuned, annealed] = [
      await generate('plain.png'),
      await generate('tuned.png', ...lora),
      await generate('annealed.png', ...lora, '--lora-anneal', '1'),
    ];
    expect(tuned.pixels).not.toEqual(plain.pixels);
    for (const other of [plain, tuned]) expect(annealed.pixels).not.toEqual(other.pixels);
    expect(annealed.text).toContain('Lora anneal: 1');
  });

  it('rejects a missing adapter, and values that are not above 0', async () => {
    expect(await run(['generate', ...settings, '--lora-anneal', '1'])).toBe(2);
    expect(printed.stderr).toMatch(/--lora-anneal: has no effect without --lora\. Give --lora, or leave it out\./);
    expect(await run(['generate', ...settings, ...lora, '--lora-anneal', '0'])).toBe(2);
    expect(printed.stderr).toMatch(/--lora-anneal: got 0, expected a number above 0\./);
  });
});

describe('alignprop generate --lora', () => {
  it.each([
    ['of the text encoder alone', 'te-kohya.safetensors', []],
    ['with an embedding, whose token it adds', 'bundle-emb.safetensors', [/embedding of 'my-token' in .*bundle-emb/]],
  ])('applies a file %s', async (_, file, messages) => {
    const plain = await run(['generate', 'my-token', ...settings.slice(1), '-o', join(folder, 'before.png')]);
    const loud = settings.slice(1).filter((argument) => argument !== '--quiet');
    const path = join(folder, `${file}.png`);
    const lora = ['--lora', fixturePath(`lora-kinds/sd15/${file}`)];
    expect([plain, await run(['generate', 'my-token', ...loud, ...lora, '-o', path])]).toEqual([0, 0]);
    const [before, after] = [join(folder, 'before.png'), path].map((name) => decodePng(readFileSync(name)).data);
    expect(after).not.toEqual(before);
    for (const message of messages) expect(printed.stderr).toMatch(message);
    expect(printed.stderr).not.toContain('warning');
  });

  it('applies several adapters, each with its strength, in any order', async () => {
    const [te, unet] = ['te-kohya', 'kohya-proj'].map((name) => fixturePath(`lora-kinds/sd15/${name}.safetensors`));
    const draw = async (name: string, ...loras: string[]) => {
      const path = join(folder, `${name}.png`);
      expect(await run(['generate', ...settings, ...loras.flatMap((lora) => ['--lora', lora]), '-o', path])).toBe(0);
      return decodePng(readFileSync(path));
    };
    const once = await draw('once', `${unet}:1`, `${te}:0.5`);
    expect(once.text.parameters).toContain('Lora: "kohya-proj.safetensors: 1, te-kohya.safetensors: 0.5"');
    const halves = await draw('halves', `${te}:.5`, `${unet}:0.25`, `${unet}:0.75`);
    const difference = once.data.map((value, i) => Math.abs(value - halves.data[i]!));
    expect(Math.max(...difference)).toBeLessThanOrEqual(1);
    expect((await draw('other', unet!)).data).not.toEqual(once.data);
  });

  it('names the files of a folder, and how to name one', async () => {
    const both = join(folder, 'loras');
    await mkdir(both);
    for (const name of ['a', 'b'])
      await copyFile(fixturePath('lora-kinds/sd15/te-kohya.safetensors'), join(both, `${name}.safetensors`));
    expect(await run(['generate', ...settings, '--lora', both])).toBe(1);
    expect(printed.stderr).toContain('a.safetensors, b.safetensors');
    expect(printed.stderr).toContain(`Name one of them with its path: '${both}/a.safetensors'.`);
  });
});

describe('alignprop generate without sampling options', () => {
  const kinds = [
    { kind: 'sd15-tiny', args: ['--steps', '1'], expected: /Steps: 1, Sampler: DDIM, CFG scale: 7\.5,/ },
    { kind: 'sdxl-tiny', args: ['--steps', '1'], expected: /Steps: 1, Sampler: DDIM, CFG scale: 5,/ },
    { kind: 'lcm', args: [], expected: /Steps: 4, Sampler: LCM, CFG scale: 8\.5,/ },
  ];

  it.each(kinds)('takes those of the kind of model: $kind', async ({ kind, args, expected }) => {
    const location = join(folder, kind);
    cpSync(fixturePath(kind === 'lcm' ? 'sd15-tiny/model' : `${kind}/model`), location, { recursive: true });
    if (kind === 'lcm') cpSync(fixturePath('lcm/overlay'), location, { recursive: true });
    const path = join(folder, `${kind}.png`);
    const size = '--height 16 --width 16 --seed 7 --quiet'.split(' ');
    expect(await run(['generate', 'a cat', '--model', location, ...size, ...args, '-o', path])).toBe(0);
    expect(readFileSync(path, 'latin1')).toMatch(expected);
    const pipeline = await StableDiffusionPipeline.fromPretrained(location);
    const { scheduler } = pipeline;
    const ddim = kind === 'lcm' ? scheduler : schedulerFor('ddim', scheduler.config);
    const { images } = await pipeline
      .with({ scheduler: ddim })
      .generate('a cat', { seed: 7, height: 16, width: 16, ...(kind !== 'lcm' && { numInferenceSteps: 1 }) });
    expect([...decodePng(readFileSync(path)).data]).toEqual([...(await toUint8(images))[0]!]);
    pipeline.dispose();
  });
});

describe('alignprop generate --image', () => {
  it('draws over an image, in its size rounded down to multiples of 8 or in another', async () => {
    const start = join(folder, 'start.png');
    const pixels = Uint8Array.from({ length: 20 * 28 * 3 }, (_, i) => (i * 7) % 256);
    writeFileSync(start, encodePng(pixels, { height: 20, width: 28 }));
    const draw = async (name: string, ...args: string[]) => {
      const path = join(folder, name);
      const common = ['a cat', ...model, ...'--steps 4 --seed 7 --quiet'.split(' '), '--image', start, '-o', path];
      expect(await run(['generate', ...common, ...args])).toBe(0);
      const { data, height, width } = decodePng(readFileSync(path));
      return { data: [...data], size: [height, width] };
    };
    const weak = await draw('weak.png', '--strength', '0.25');
    const strong = await draw('strong.png', '--strength', '1', '--height', '24', '--width', '16');
    expect([weak.size, strong.size]).toEqual([
      [16, 24],
      [24, 16],
    ]);
    expect(weak.data).not.toEqual(strong.data);
  });
});
