import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { beforeAll, describe, expect, it } from 'vitest';
import { TfjsEngine, useBackend } from '@alignprop/autograd-ext';
import { expectNoLeaks } from '@alignprop/autograd-ext/testing';
import { isModelReward, scoreImages } from '@alignprop/rewards';
import { fixturePath } from '../../../../fixtures/index.js';
import { temporaryFolder } from '../../../../fixtures/temporary-folder.js';
import { UsageError } from '../terminal/errors.js';
import type { UserReward } from './reward-file.js';
import { rewardNames, rewardOptionNames } from './reward-list.js';
import type { RewardOptions } from './reward-term-options.js';
import { blackBoxTerms, rewardTerms } from './reward-terms.js';

const folder = temporaryFolder();
const file = (name: string, content: string): string => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};
const tfjs = import.meta.resolve('@tensorflow/tfjs-core');
const brightness = file(
  'brightness.mjs',
  `import { mean } from '${tfjs}'; export default (images, prompts) => mean(images, [1, 2, 3]);`,
);

const image = { data: Uint8Array.from({ length: 16 * 16 * 3 }, (_, i) => (i * 7) % 256), height: 16, width: 16 };
const judge = async (terms: readonly string[], options?: RewardOptions) =>
  judgeWith(await rewardTerms(terms, options).load());

async function judgeWith(reward: UserReward) {
  const engine = new TfjsEngine();
  const scores = await scoreImages(reward, [image], { prompts: 'a crab', engine }).finally(() => engine.dispose());
  if ('dispose' in reward) (reward.dispose as () => void)();
  return scores;
}

describe('rewardTerms', () => {
  beforeAll(() => useBackend('wasm'));

  it('loads the weighted sum of several terms', () =>
    expectNoLeaks(async () => {
      const {
        scores: [size],
      } = await judge(['jpeg-incompressibility']);
      expect(size).toBeGreaterThan(0);
      expect((await judge(['jpeg-compressibility'])).scores[0]).toBeCloseTo(-size!, 6);
      const { scores, terms } = await judge(['jpeg-compressibility:0.5', 'jpeg-incompressibility:2']);
      expect(scores[0]).toBeCloseTo(1.5 * size!, 5);
      expect(Object.entries(terms).map(([name, [value]]) => [name, value! / size!])).toEqual([
        ['jpeg-compressibility', expect.closeTo(-0.5, 5)],
        ['jpeg-incompressibility', expect.closeTo(2, 5)],
      ]);
    }));

  const aesthetic = {
    weights: fixturePath('reward-aesthetic/clip'),
    head: fixturePath('reward-aesthetic/sac+logos+ava1-l14-linearMSE.pth'),
  };
  const pick = { weights: fixturePath('reward-pickscore/clip'), tokenizer: fixturePath('reward-pickscore/clip') };
  const hps = { weights: fixturePath('reward-hpsv2'), tokenizer: fixturePath('reward-hpsv2/tokenizer') };
  const blip = {
    weights: fixturePath('reward-imagereward/ImageReward_tiny.pt'),
    tokenizer: fixturePath('reward-imagereward'),
  };
  const detector = {
    weights: fixturePath('reward-object-detection/plain'),
    target: 'dog',
    goal: 'present',
    height: '32',
  };
  const emotion = {
    model: fixturePath('../node_modules/@vladmandic/human/models/emotion.json'),
    score: '0,0,0,1,0,0,0',
    output: '0',
  };
  /** Options of each listed reward. */
  const examples: Readonly<Record<string, Record<string, string>>> = {
    aesthetic,
    'clip-score': { ...pick, form: 'cosine' },
    'pick-score': pick,
    'hps-v2': hps,
    'image-reward': { ...blip, 'vision-heads': '2' },
    'object-detection': detector,
    'graph-model': emotion,
    'nsfw-safety': {},
    'jpeg-compressibility': { quality: '50' },
    'jpeg-incompressibility': { quality: '50' },
  };
  it.each(Object.entries(examples))(
    'loads %s without reading its weights, with options from flags and from a configuration file',
    async (name, options) => {
      const reward = await rewardTerms([name], { [name]: options }).load();
      expect(isModelReward(reward)).toBe(true);
      const flags = Object.entries(options).map(([option, value]) => `${name}.${option}=${value}`);
      const [byFlags, byFile] = [await judge([name], flags), await judgeWith(reward)];
      expect(byFlags.scores[0]).toBe(byFile.scores[0]);
      expect(byFlags.scores[0]).not.toBe(0);
    },
  );

  it.each(rewardNames)('has an example of %s in this test and its options in the README', (name) => {
    expect(Object.keys(examples)).toContain(name);
    const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
    const row = readme.split('\n').find((line) => line.startsWith('|') && line.split('|')[1]!.includes(`\`${name}\``));
    for (const option of rewardOptionNames(name)) expect(row).toContain(`\`${option}\``);
  });

  it("adds a user's own reward to one with weights", async () => {
    const { scores, terms } = await judge([`${brightness}:2`, 'aesthetic:0.5'], { aesthetic });
    expect(Object.keys(terms)).toEqual(['brightness', 'aesthetic']);
    expect(terms.brightness![0]).toBeCloseTo(
      (2 * image.data.reduce((sum, byte) => sum + byte, 0)) / 255 / image.data.length,
      5,
    );
    expect(scores[0]).toBeCloseTo(terms.brightness![0]! + terms.aesthetic![0]!, 5);
    expect(terms.aesthetic![0]).toBeCloseTo((await judge(['aesthetic'], { aesthetic })).scores[0]! / 2, 5);
  });

  it('caps and normalises a term', async () => {
    const { scores, terms } = await judge(['jpeg-incompressibility:cap=0.1']);
    expect(scores[0]).toBeCloseTo(0.1, 6);
    expect(terms.uncapped![0]).toBeGreaterThan(0.1);
    const both = await judge(['jpeg-incompressibility:2:cap=0.1:normalised', 'jpeg-compressibility:0']);
    expect(both.scores[0]).toBeCloseTo(0.2, 5);
    expect(both.terms['jpeg-incompressibility.raw.uncapped']![0]).toBeCloseTo(terms.uncapped![0]!, 5);
    expect(() => blackBoxTerms(['aesthetic:normalised'])).toThrow(/'aesthetic' is normalised, but scores without/);
  });

  it('accepts options of terms of two flags, and names the flag with an error', async () => {
    const options = ['jpeg-compressibility.quality=50', 'jpeg-incompressibility.quality=90'];
    const [one, other] = ['jpeg-compressibility', 'jpeg-incompressibility:2'];
    expect((await judge([one], options.slice(0, 1))).scores).toEqual(
      (
        await scoreImages(await rewardTerms([one], options, { otherTerms: [other] }).load(), [image], {
          engine: new TfjsEngine(),
        })
      ).scores,
    );
    expect(() => rewardTerms([one], options)).toThrow(/got an option of 'jpeg-incompressibility'/);
    expect(() => rewardTerms([other], ['aesthetic.head=a'], { flag: '--eval-reward', otherTerms: [one] })).toThrow(
      /expected one of jpeg-incompressibility, jpeg-compressibility\./,
    );
    expect(() => rewardTerms(['beauty'], [], { flag: '--eval-reward' })).toThrow(/--eval-reward: got 'beauty'/);
  });

  it.each<[string[], RewardOptions | undefined, RegExp]>([
    [
      ['beauty'],
      undefined,
      /--reward: got 'beauty', expected a \.js, \.mjs or \.ts file, an https:.*'exec:command', or one of aesthetic, /,
    ],
    [['toString'], undefined, /got 'toString'/],
    [['jpeg-compressibility:cap=low'], undefined, /cap of 'jpeg-compressibility' got 'low', expected a number/],
    [['jpeg-compressibility:cap=1:cap=2'], undefined, /the cap of 'jpeg-compressibility' is given twice/],
    [
      ['https://a.example:80/x'],
      undefined,
      /'https:\/\/a\.example:80\/x' is computed by another program.*--algorithm ddpo/,
    ],
    [['exec:python score.py:2'], undefined, /'exec:python score\.py' is computed by another program/],
    [['jpeg-compressibility:much'], undefined, /weight of 'jpeg-compressibility' got 'much'/],
    [['jpeg-compressibility:'], undefined, /got ''/],
    [[`${brightness}:much`], undefined, /weight of '.*brightness\.mjs' got 'much'/],
    [['jpeg-compressibility', 'jpeg-compressibility:2'], undefined, /given twice/],
    [['./a/mine.js', './b/mine.ts'], undefined, /'mine' is given twice/],
    [
      ['aesthetic'],
      ['aesthetic=./head.pth'],
      /--reward-option: got "aesthetic=.\/head.pth", expected reward\.option=value/,
    ],
    [
      ['aesthetic'],
      ['aesthetic.heads=./head.pth'],
      /--reward-option: got 'aesthetic\.heads', expected one of aesthetic\.weights, aesthetic\.head/,
    ],
    [['aesthetic'], ['hps-v2.version=v2'], /got an option of 'hps-v2', expected one of aesthetic/],
    [['./mine.js'], ['mine.a=1'], /got an option of 'mine', expected one of a listed reward/],
    [['hps-v2'], { 'hps-v2': { version: 'v3' } }, /hps-v2\.version got 'v3', expected one of v2, v2\.1/],
    [['jpeg-compressibility'], ['jpeg-compressibility.quality=high'], /quality got 'high', expected a number/],
    [['object-detection'], undefined, /'object-detection' needs an option: --reward-option object-detection\.target=/],
    [
      ['graph-model'],
      ['graph-model.model=m', 'graph-model.score=1,x'],
      /graph-model\.score got '1,x', expected numbers/,
    ],
  ])('rejects %j with the options %j', (terms, options, message) => {
    expect(() => rewardTerms(terms, options)).toThrow(message);
    expect(() => rewardTerms(terms, options)).toThrow(UsageError);
  });
});

describe('a reward file', () => {
  beforeAll(() => useBackend('wasm'));
  const reward = `import { mean } from '${tfjs}'; const reward = (images) => mean(images, [1, 2, 3]);`;
  const level = image.data.reduce((sum, byte) => sum + byte, 0) / 255 / image.data.length;

  it.each([
    ['a reward function', `${reward} export default reward;`],
    ['a function that returns one', `${reward} export default () => reward;`],
    ['an async function that returns one', `${reward} export default async () => { await null; return reward; };`],
    ['createReward', `${reward} export async function createReward() { return reward; }`],
    ['a function with rest parameters', `${reward} export default (...args) => reward(...args);`],
    ['a function with default parameters', `${reward} export default (images = null, prompts = []) => reward(images);`],
    ['a function that reads arguments', `${reward} export default function () { return reward(...arguments); }`],
    ['a bound function', `${reward} export default ((...args) => reward(...args)).bind(null);`],
    ['what a compiler to CommonJS leaves', `${reward} export default { __esModule: true, default: reward };`],
    ["TRL's pair", `${reward} export default (images) => [reward(images), {}];`],
  ])('loads a module that exports %s', async (kind, content) => {
    expect((await judge([file(`${kind.replaceAll(' ', '-')}.mjs`, content)])).scores[0]).toBeCloseTo(level, 5);
  });

  it('names itself in what is wrong with its scores, alone and in a sum', async () => {
    const path = file('three.mjs', 'export default (images) => [1, 2, 3];');
    const message = `rewardFunction '${path}': returned an array of 3 numbers [1, 2, 3], expected a tensor [1] or`;
    await expect(judge([path])).rejects.toThrow(message);
    await expect(judge([path, 'jpeg-compressibility'])).rejects.toThrow(message);
    await expect(judge([`${path}:cap=1`])).rejects.toThrow(message);
  });

  it('may be async where no gradient is needed, also in a sum', async () => {
    const path = file('prompts.mjs', 'export default async (images, prompts) => prompts.map(({ length }) => length);');
    const score = async (...terms: string[]) => judgeWith(await blackBoxTerms(terms).load());
    expect((await score(path)).scores[0]).toBe(6); // 'a crab'
    const { scores, terms } = await score(`${path}:0.5:cap=4`, 'jpeg-incompressibility');
    expect(terms.prompts![0]).toBe(2);
    expect(scores[0]).toBeCloseTo(2 + terms['jpeg-incompressibility']![0]!, 5);
  });

  it('loads a TypeScript module', async () => {
    const path = file('typed.ts', `${reward} const typed: typeof reward = reward; export default typed;`);
    expect((await judge([path])).scores[0]).toBeCloseTo(level, 5);
  });

  it('loads TypeScript only if Node runs it, and names the version that does', async () => {
    const path = file('plain.ts', 'const reward: unknown = (images: object) => images; export default reward;');
    const built = join(folder, 'user-module.mjs'); // tests run TypeScript by themselves
    await build({
      entryPoints: [fileURLToPath(new URL('user-module.ts', import.meta.url))],
      bundle: true,
      platform: 'node',
      format: 'esm',
      outfile: built,
    });
    const program = `
      const { importModule } = await import(${JSON.stringify(pathToFileURL(built).href)});
      await importModule(${JSON.stringify(path)}, '--reward').then(
        (module) => console.log(typeof module.default),
        (error) => console.log(error.message),
      );`;
    const printed = execFileSync(process.execPath, ['--input-type=module', '-e', program], {
      encoding: 'utf8',
      env: { ...process.env, NODE_OPTIONS: '' },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [major, minor] = process.versions.node.split('.').map(Number) as [number, number];
    const runsTypeScript = major > 22 || (major === 22 && minor >= 18);
    expect(printed).toMatch(
      runsTypeScript
        ? /^function$/m
        : new RegExp(
            "--reward: cannot load '.*plain\\.ts': Unknown file extension.* does not run TypeScript: " +
              'use Node 22\\.18 or newer, or compile the file to \\.mjs\\.$',
            'm',
          ),
    );
  });

  it.each<[string, string | undefined, string | RegExp]>([
    ['none.mjs', undefined, /--reward: there is no file '.*none\.mjs'/],
    [
      'nothing.mjs',
      'export const reward = 1;',
      /the default export of '.*nothing\.mjs' got nothing \(undefined\), expected a function/,
    ],
    ['named.mjs', 'export function score() {}', /got nothing \(undefined\).*Write 'export default' before score\./],
    ['class.mjs', 'export default class Bright { score() {} }', /class\.mjs' got a class, .*new Bright\(\)/],
    ['generator.mjs', 'export default function* (images) {}', /got a generator function, expected a function/],
    ['object.mjs', 'export default { score: 1 };', /got an object with the keys score, expected a function/],
    ['both.mjs', 'export default (x) => x; export const createReward = () => 1;', /exports both a default and/],
    [
      'made.mjs',
      'export const createReward = () => 1;',
      /createReward of '.*made\.mjs' returned .* got a number \(1\)/,
    ],
    ['async.mjs', 'export default async (images) => [1];', /async\.mjs' exports an async function.*--algorithm ddpo/],

    [
      'number.mjs',
      'export default () => 3;',
      /has no parameters, so it was called to make the reward, .* got a number \(3\), expected a function/,
    ],
    [
      'throws.mjs',
      "export default () => { throw new Error('no licence'); };",
      /^--reward: the default export of '.*throws\.mjs' has no parameters, so it was called .*, and threw: no licence$/,
    ],
    ['broken.mjs', 'export default (', /--reward: cannot load '.*broken\.mjs': /],
    ['lonely.cjs', "require('no-such-package');", /cannot load '.*lonely\.cjs': .*no-such-package.*that it requires/],
    [
      'lonely.mjs',
      "import 'no-such-package'; export default () => 3;",
      /cannot load '.*lonely\.mjs': .*no-such-package/,
    ],
  ])('rejects %s', async (name, content, message) => {
    if (content !== undefined) file(name, content);
    const { check, load } = rewardTerms([join(folder, name)]);
    await expect(check().then(() => load())).rejects.toThrow(message);
  });
});
