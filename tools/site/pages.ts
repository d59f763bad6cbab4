import { dirname } from 'node:path';

/** The pages of the site by section. A page is a Markdown file of the repository, which reads the same on GitHub. */
export interface Section {
  readonly text: string;
  readonly items: readonly { readonly text: string; readonly source: string }[];
}

const guide = (name: string) => ({ text: name, source: `packages/${name}/README.md` });
const doc = (text: string, name: string) => ({ text, source: `docs/${name}.md` });

export const sections: readonly Section[] = [
  {
    text: 'Start',
    items: [
      doc('AlignProp in one picture', 'index'),
      doc('Ten minutes to a LoRA', 'ten-minutes'),
      doc('Installation', 'installation'),
      doc('A first run', 'first-run'),
      { text: 'Examples', source: 'examples/README.md' },
    ],
  },
  {
    text: 'Coming from',
    items: [doc('TRL', 'coming-from-trl'), doc('diffusers', 'coming-from-diffusers')],
  },
  {
    text: 'Guides',
    items: ['cli', 'trainer', 'rewards', 'diffusion', 'lora', 'autograd-ext'].map(guide),
  },
  {
    text: 'Training well',
    items: [
      doc('Writing a reward', 'own-reward'),
      doc('Rewards by another program', 'reward-services'),
      doc('Choosing an estimator', 'estimators'),
      doc('Over-optimisation', 'guards'),
      doc('AlignProp or DDPO', 'efficiency'),
      doc('Memory and time', 'memory-and-time'),
      doc('How long it takes', 'how-long'),
      doc('Benchmarks', 'benchmarks'),
      doc('Reports of runs', 'report'),
    ],
  },
  {
    text: 'Files and machines',
    items: [
      doc('Files and formats', 'files'),
      doc('Publishing to the hub', 'hub'),
      doc('Several processes and Slurm', 'processes'),
      doc('GPUs', 'gpus'),
      doc('The tensorflow backend', 'tensorflow'),
      doc('Browsers', 'browser'),
      { text: 'The page that trains', source: 'examples/browser/README.md' },
      doc('Bundlers and runtimes', 'compatibility'),
    ],
  },
  {
    text: 'When something fails',
    items: [doc('Troubleshooting', 'troubleshooting'), doc('Reliability', 'reliability')],
  },
  {
    text: 'Inside',
    items: [
      doc('How it works', 'how-it-works'),
      doc('Adding your own', 'adding-your-own'),
      { text: 'Architecture', source: 'ARCHITECTURE.md' },
      { text: 'Contributing', source: 'CONTRIBUTING.md' },
      { text: 'Reference numbers', source: 'fixtures/README.md' },
    ],
  },
];

/** The page of the site that a file of the repository becomes: `docs/guards.md` is `guards.md`. */
export const sitePath = (source: string): string =>
  source
    .replace(/^docs\//, '')
    .replace(/(^|\/)README\.md$/, '.md')
    .replace(/^(ARCHITECTURE|CONTRIBUTING)\.md$/, (name) => name.toLowerCase());

/** The first page of the API reference, which `npm run site` writes into this page's folder. */
export const apiIndex = 'docs/api/index.md';

const sources = new Set(sections.flatMap(({ items }) => items.map(({ source }) => source)));

/** Whether a file of the repository is a page of the site. */
export const isPage = (source: string): boolean => sources.has(source) || source.startsWith(dirname(apiIndex));
