import { cardMark } from '@alignprop/trainer';
import { cardMetadata } from './card-metadata.js';
import { howToUse } from './card-usage.js';
import { codeSpan, tableCell } from './markdown.js';
import { rewardLimits, unknownLimits } from './reward-limits.js';
import { isAdapter, nameOf, type RunFacts } from './run-facts.js';

/** Stands in the place of a repository that is not known yet. */
export const unnamedRepository = 'organisation/name';

/** Writes the model card of a run: metadata of the hub, and Markdown for people. */
export function modelCard(facts: RunFacts): string {
  const sections = [
    introduction(facts),
    pictures(facts),
    results(facts),
    howToUse(facts),
    training(facts),
    limits(facts),
    license(facts),
  ];
  const mark = `${cardMark} for ${facts.repository}. Remove this line to keep changes of yours. -->`;
  return `${cardMetadata(facts)}\n${mark}\n\n${sections.filter(Boolean).join('\n\n')}\n`;
}

const algorithms = {
  alignprop: '[AlignProp](https://arxiv.org/abs/2310.03739), by the gradient of the reward',
  ddpo: '[DDPO](https://arxiv.org/abs/2305.13301), by rewards alone',
} as const;

function introduction(facts: RunFacts): string {
  const { manifest, base, repository, rewards, epochs, best } = facts;
  const kind = manifest.config.lora_kind === 'dora' ? 'DoRA' : 'LoRA';
  const what = isAdapter(facts) ? `A ${kind} adapter for` : 'A UNet trained from that of';
  const model = base.id ? `[${base.id}](https://huggingface.co/${base.id})` : `${base.name}${origin(base.isEmbedded)}`;
  const aim = rewards.length > 0 ? `, to maximise ${rewards.map(describeTerm).join(' + ')}` : '';
  const chosen = best && ` These are the weights after ${best.step} steps, the best on held-out prompts.`;
  return (
    `# ${nameOf(repository)}\n\n${what} ${model}. It was trained with ` +
    `${algorithms[manifest.algorithm]}${aim}, for ${epochs} epochs.${chosen ?? ''}`
  );
}

const origin = (isEmbedded = false): string => (isEmbedded ? ', the small model in `@alignprop/cli`' : '');

type Term = RunFacts['rewards'][number];

/** Names a reward without addresses and paths of the machine that trained. */
function describeTerm({ kind, source, name, weight, cap, isNormalised }: Term): string {
  const what = { listed: codeSpan(source), file: `${codeSpan(name)}, a program of its own`, http: 'a web service' };
  const settings = [
    ...(weight === 1 ? [] : [`weight ${weight}`]),
    ...(Number.isFinite(cap) ? [`capped at ${cap}`] : []),
    ...(isNormalised ? ['normalised'] : []),
  ];
  const shown = kind === 'command' ? 'a command' : what[kind];
  return settings.length > 0 ? `${shown} (${settings.join(', ')})` : shown;
}

function pictures({ files, compared }: RunFacts): string {
  if (files.includes('before-after.png'))
    return (
      '![Images of held-out prompts before and after training](before-after.png)\n\n' +
      'Upper row before training, lower row after, from the same noise' +
      (compared ? `: ${Object.values(compared.pictures).map(codeSpan).join(', ')}.` : '.')
    );
  const sheets = files.filter((path) => path.startsWith('samples/'));
  if (sheets.length === 0) return '';
  const names = ['Images of the first training steps', 'Images of the last training steps'];
  return sheets.map((path, i) => `![${names[i === 0 ? 0 : 1]}](${path})`).join('\n');
}

function results({ trained, compared }: RunFacts): string {
  const rows = [
    ...(compared ? [['held-out prompts', compared.before, compared.after] as const] : []),
    ...(trained ? [['training images, first and last epoch', trained.first, trained.last] as const] : []),
  ];
  if (rows.length === 0) return '';
  const lines = rows.map(([name, before, after]) => `| ${name} | ${before.toFixed(4)} | ${after.toFixed(4)} |`);
  return ['## Results', '', '| mean reward | before | after |', '| --- | ---: | ---: |', ...lines].join('\n');
}

/** Options that a reader of a card looks for; others are in config.json. */
const shownOptions = [
  ...['estimator', 'num_epochs', 'train_batch_size', 'train_gradient_accumulation_steps', 'train_learning_rate'],
  ...['sample_num_steps', 'sample_guidance_scale', 'sample_eta', 'scheduler', 'negative_prompts', 'height', 'width'],
  ...['truncated_backprop_rand', 'truncated_rand_backprop_minmax', 'kl_weight', 'norm_weight', 'data_weight'],
  ...['ema_decay', 'mixed_precision', 'seed'],
  ...['lora_kind', 'lora_rank', 'lora_alpha', 'lora_target_modules', 'train_text_encoder'],
];

function training({ manifest, prompts, files }: RunFacts): string {
  const rows = shownOptions.flatMap((name) => {
    const value = manifest.config[name];
    return value === undefined || value === null ? [] : [`| \`${name}\` | ${tableCell(JSON.stringify(value))} |`];
  });
  const shown = prompts.slice(0, 10).map(codeSpan).join(', ');
  const more = prompts.length > 10 ? ` and ${prompts.length - 10} more` : '';
  return [
    '## Training',
    ...(prompts.length > 0 ? ['', `Prompts: ${shown}${more}.`] : []),
    ...['', '| option | value |', '| --- | --- |', ...rows],
    ...(files.includes('config.json') ? ['', 'All options are in `config.json`.'] : []),
    ...['', `Trained with [alignprop](https://www.npmjs.com/package/@alignprop/cli)${versions(manifest.versions)}.`],
  ].join('\n');
}

const versions = (all: Readonly<Record<string, string>> = {}): string =>
  all['@alignprop/cli'] ? ` ${all['@alignprop/cli']} on Node ${all.node}` : '';

function limits({ rewards }: RunFacts): string {
  const lines = rewards.map((term) => {
    const text = term.kind === 'listed' ? rewardLimits[term.source] : undefined;
    return `- ${describeTerm(term)}: ${text ?? unknownLimits}`;
  });
  return [
    '## What the reward cannot see',
    '',
    ...(lines.length > 0 ? lines : [`- ${unknownLimits}`]),
    '',
    'Whatever a reward does not see may have become worse, and pictures may have become more alike: every reward, ' +
      'maximised for long, ends in pictures that nobody wants. A lower strength of the adapter gives some of the ' +
      "model's variety back.",
  ].join('\n');
}

function license({ base }: RunFacts): string {
  const { license, license_name, license_link } = base.license ?? {};
  const name = license_name ?? license;
  const inherited = license_link && name ? `[${name}](${license_link})` : name;
  return `## Licence\n\n${
    inherited
      ? `That of the model it was trained from: ${inherited}.`
      : `The licence of ${base.name}, which holds for this too, was not found: add \`license\` to the metadata above.`
  }`;
}
