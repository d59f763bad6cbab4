// The documentation: every block of code and every command is executed or read by a test, or listed here with the
// reason; links lead somewhere; quoted messages are those of the sources.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { commandsOf, documentedBlocks, documentedPages, readDocument, wordsOf } from '../fixtures/documented-blocks.js';
import { brokenLinks } from './site/links.js';
import { isPage, sections } from './site/pages.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const blocks = documentedBlocks();

/** Blocks and commands that no test runs: the page, how they begin, and why. */
const unexecuted: readonly (readonly [page: string, beginning: string, reason: string])[] = [
  ['README.md', "import { StableDiffusionPipeline } from '@alignprop/diffusion';", 'trains for 20 epochs of 50 steps'],
  ['docs/browser.md', "import { memory } from '@alignprop/autograd-ext/weights';", 'is for a browser'],
  ['packages/diffusion/README.md', 'const [preview]', 'is part of a program'],
  ['packages/diffusion/README.md', 'import { EulerDiscreteScheduler }', 'is part of a program'],
  ['packages/lora/README.md', 'const own = withLora', 'is part of a program'],
  ['packages/rewards/README.md', 'import { aesthetic', 'downloads 1.7 GB'],
  ['packages/trainer/README.md', "import { AlignPropTrainer } from '@alignprop/trainer';", 'is part of a program'],
  ['docs/installation.md', 'allowBuilds:', "is pnpm's configuration"],
  ['docs/reward-services.md', 'import base64', 'needs Python with Pillow'],
  ['docs/ten-minutes.md', 'import torch', 'needs Python with diffusers'],
  ['packages/cli/README.md', 'import torch', 'needs Python with diffusers'],
  ['docs/benchmarks.md', 'OMP_NUM_THREADS=2 python', 'needs PyTorch'],
  ['docs/processes.md', 'apt-get install', 'installs packages of the system'],
  ['docs/tensorflow.md', 'pip install', 'installs packages of Python'],
  ['docs/tensorflow.md', 'npm install --ignore-scripts @tensorflow/tfjs-node-gpu', 'needs TensorFlow; CI has the like'],
  ['packages/trainer/README.md', 'apt-get install', 'installs packages of the system'],
  ['RELEASING.md', 'git push', 'publishes'],
];

describe('blocks and commands', () => {
  const scripts = (path: string) => (JSON.parse(readDocument(path)) as { scripts: Record<string, string> }).scripts;
  const [ofRoot, ofTools] = [scripts('package.json'), scripts('tools/package.json')];
  const { packages } = JSON.parse(readDocument('package-lock.json')) as { packages: Record<string, unknown> };

  /** Whether a command names what exists: scripts, packages, files. The command's own test reads those of alignprop. */
  function isKnown(command: string): boolean {
    const words = wordsOf(command).filter((word) => !/^[A-Z_]+=/.test(word));
    const [program, action, ...rest] = words;
    const names = rest.filter((word) => !word.startsWith('-'));
    if (words.includes('alignprop')) return true;
    if (program === 'npm' && action === 'run')
      return Object.hasOwn(rest.includes('tools') ? ofTools : ofRoot, rest[0]!);
    if (program === 'npm' && ['install', 'rebuild'].includes(action!))
      return names.every((name) => packages[`node_modules/${name}`] !== undefined);
    if (program === 'npm') return ['ci', 'test'].includes(action!);
    const files = words.filter((word) => /\.(ts|mjs)$|^\.ci/.test(word));
    return (
      ['node', 'npx', 'bash'].includes(program!) &&
      files.length > 0 &&
      files.every((file) => existsSync(join(root, file)))
    );
  }

  /** Blocks, by their page and code, and commands that neither this test nor another runs. */
  const left = blocks.flatMap((block) => {
    const page = block.place.replace(/:\d+$/, '');
    if (/^(sh|sh run|bash|console)$/.test(block.kind))
      return commandsOf(block)
        .filter((command) => !isKnown(command))
        .map((code) => ({ page, place: block.place, code }));
    const isRead =
      ['', 'ts run', 'js', 'json'].includes(block.kind) || (block.kind === 'yaml' && /^reward:/m.test(block.code));
    return isRead ? [] : [{ page, place: block.place, code: block.code }];
  });
  const isListed = (entry: (typeof unexecuted)[number], { page, code }: (typeof left)[number]) =>
    entry[0] === page && code.startsWith(entry[1]);

  it('are executed or read, or listed with the reason', () => {
    expect(left.filter((one) => !unexecuted.some((entry) => isListed(entry, one)))).toEqual([]);
  });

  it.each(unexecuted)('the list has what there is: %s: %s', (...entry) => {
    expect(left.filter((one) => isListed(entry, one))).not.toEqual([]);
  });
});

describe('links', () => {
  it.each(documentedPages)('of %s lead to files and headings', (page) => {
    expect(brokenLinks(root, [page])).toEqual([]);
  });

  it('lead from the site to every page', () => {
    const sources = sections.flatMap(({ items }) => items.map(({ source }) => source));
    expect(sources.filter((source) => !existsSync(join(root, source)))).toEqual([]);
    expect(new Set(sources).size).toBe(sources.length);
    expect(documentedPages.filter((page) => page.startsWith('docs/') && !isPage(page))).toEqual([]);
  });
});

describe('the messages of docs/troubleshooting.md', () => {
  /** The texts of the sources by file, with what joins the parts of a text left out. */
  const sources = readdirSync(join(root, 'packages'), { recursive: true, encoding: 'utf8' })
    .filter((file) => /^[\w-]+[/\\]src[/\\].*\.ts$/.test(file) && !file.endsWith('.test.ts'))
    .map((file) => readFileSync(join(root, 'packages', file), 'utf8').replaceAll(/['"`]\s*\+\s*['"`]/g, ''));
  const messages = [...readDocument('docs/troubleshooting.md').matchAll(/^### `(.*)`$/gm)].map(([, text]) => text!);

  it('are some', () => expect(messages.length).toBeGreaterThan(20));

  it.each(messages)('%s', (message) => {
    const parts = message.split('…').map((part) => part.trim());
    const holds = (text: string): boolean => parts.every((part) => text.includes(part));
    expect(sources.filter(holds)).not.toEqual([]);
  });
});
