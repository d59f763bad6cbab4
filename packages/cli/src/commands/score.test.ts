import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { decodePng, encodePng } from '@alignprop/diffusion';
import { captureOutput } from '../../../../fixtures/capture-output.js';
import { fixturePath } from '../../../../fixtures/index.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { run } from '../program.js';

const printed = captureOutput();
const folder = temporaryFolder();
const tfjs = import.meta.resolve('@tensorflow/tfjs-core');
const path = (name: string): string => join(folder, name);
const crab = fileURLToPath(new URL('../__fixtures__/crab.png', import.meta.url));
writeFileSync(path('white.png'), encodePng(new Uint8Array(9 * 4 * 3).fill(255), { height: 9, width: 4 }));
writeFileSync(
  path('bright.mjs'),
  `import { mean } from '${tfjs}'; export default (images, prompts) => mean(images, [1, 2, 3]);`,
);
writeFileSync(
  path('nan.mjs'),
  `import { div, sub, mean } from '${tfjs}'; export default (images) => div(mean(sub(images, images), [1, 2, 3]), 0);`,
);
const aesthetic = [
  '--reward-option',
  `aesthetic.weights=${fixturePath('reward-aesthetic/clip')}`,
  '--reward-option',
  `aesthetic.head=${fixturePath('reward-aesthetic/sac+logos+ava1-l14-linearMSE.pth')}`,
];

describe('alignprop score', () => {
  it('prints a table of the score and its weighted terms', async () => {
    expect(
      await run([
        'score',
        path('white.png'),
        crab,
        '--reward',
        `${path('bright.mjs')}:2`,
        '--reward',
        'jpeg-compressibility:0.5',
      ]),
    ).toBe(0);
    const [head, white, red] = printed.stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.trim().split(/ {2,}/));
    expect(head).toEqual(['image', 'score', 'bright', 'jpeg-compressibility']);
    expect(white).toEqual([path('white.png'), '1.6855', '2.0000', '-0.3145']); // one blank macroblock: 629 bytes
    expect(red![0]).toBe(crab);
    expect(Number(red![1])).toBeCloseTo(Number(red![2]) + Number(red![3]), 3);
    expect(printed.stderr).toMatch(/^Scoring 1\/2.*\nScoring 2\/2\n$/);
  });

  it('prints one object a line with --json, without rounding', async () => {
    expect(
      await run([
        'score',
        crab,
        path('white.png'),
        '--reward',
        'aesthetic',
        ...aesthetic,
        '--reward',
        path('bright.mjs'),
        '--prompt',
        'crab',
        '--prompt',
        'snow',
        '--json',
        '--quiet',
      ]),
    ).toBe(0);
    const [first, second, ...rest] = printed.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown> & { terms: Record<string, number> });
    const { data } = decodePng(readFileSync(crab));
    expect(first).toMatchObject({
      event: 'score',
      image: crab,
      prompt: 'crab',
      terms: { bright: expect.closeTo(data.reduce((sum, byte) => sum + byte / 255, 0) / data.length, 4) as number },
    });
    expect(first!.score).toBeCloseTo(first!.terms.bright! + first!.terms.aesthetic!, 5);
    expect(second).toMatchObject({ image: path('white.png'), prompt: 'snow', terms: { bright: 1 } });
    expect([rest, printed.stderr]).toEqual([[], '']);
  });

  it('omits terms for a single reward, and the prompt if none is given', async () => {
    expect(
      await run(['score', path('white.png'), '--reward', path('bright.mjs'), '--json', '--backend', 'cpu', '--quiet']),
    ).toBe(0);
    expect(JSON.parse(printed.stdout)).toEqual({ event: 'score', image: path('white.png'), score: 1 });
  });

  it('takes the prompts and their metadata from a file, in the order of the images', async () => {
    const files = { 'prompts.csv': 'prompt,weight_of_it\nsnow,3\ncrab,5\n', 'one.txt': 'snow\n' };
    for (const [name, text] of Object.entries(files)) writeFileSync(path(name), text);
    writeFileSync(
      path('metadata.mjs'),
      `import { mean, mul } from '${tfjs}';
      export default (images, [prompt], [row]) =>
        mul(mean(images, [1, 2, 3]), prompt.length * Number(row?.weight_of_it ?? 1));`,
    );
    const score = async (...args: string[]) => {
      const before = printed.stdout.length;
      const reward = ['--reward', path('metadata.mjs'), '--json', '--quiet', '--backend', 'cpu'];
      const code = await run(['score', path('white.png'), path('white.png'), ...reward, ...args]);
      const lines = printed.stdout.slice(before).trim().split('\n').filter(Boolean);
      return [code, ...lines.map((line) => (JSON.parse(line) as { score: number }).score)];
    };
    expect(await score('--prompts', path('prompts.csv'))).toEqual([0, 12, 20]);
    expect(await score('--prompts', path('one.txt'))).toEqual([0, 4, 4]);
    expect(await score('--prompts', path('prompts.csv'), '--prompt', 'third')).toEqual([2]);
    expect(printed.stderr).toMatch(/^error: --prompts: got 3 for 2 images, expected one for all, or one for each/m);
  });

  it('prints which reward it loads, and fails if a score is not a number', async () => {
    expect(await run(['score', path('white.png'), '--reward', 'aesthetic', ...aesthetic])).toBe(0);
    expect(printed.stderr).toContain('Loading the reward aesthetic\n');
    expect(await run(['score', path('white.png'), '--reward', path('nan.mjs')])).toBe(1);
    expect(printed.stderr).toContain('error: scoreImages: the score of image 0 got NaN, expected a finite number.');
  });
});
