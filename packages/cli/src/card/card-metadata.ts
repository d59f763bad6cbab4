import { stringify } from 'yaml';
import { nameOf, type RunFacts } from './run-facts.js';

/**
 * Writes the block of metadata at the beginning of a model card, in the hub's names. All texts are in double quotes, so
 * that parsers of YAML 1.1 read no number, date or truth value from them.
 */
export function cardMetadata(facts: RunFacts): string {
  const text = stringify(metadata(facts), { defaultStringType: 'QUOTE_DOUBLE', defaultKeyType: 'PLAIN', lineWidth: 0 });
  return `---\n${text}---\n`;
}

function metadata(facts: RunFacts): object {
  const { base, manifest, prompts, compared } = facts;
  const isAdapter = manifest.config.use_lora !== false;
  return {
    ...(base.id && { base_model: base.id, base_model_relation: isAdapter ? 'adapter' : 'finetune' }),
    library_name: 'diffusers',
    pipeline_tag: 'text-to-image',
    ...base.license,
    tags: tagsOf(facts, isAdapter),
    ...(prompts.length > 0 && { instance_prompt: plainText(prompts[0]!) }),
    ...(compared && Object.keys(compared.pictures).length > 0 && { widget: widget(compared.pictures) }),
    ...(compared && { 'model-index': [modelIndex(facts, compared)] }),
  };
}

const tagsOf = ({ manifest, isXL }: RunFacts, isAdapter: boolean): readonly string[] => [
  'text-to-image',
  'diffusers',
  ...(isXL === undefined ? [] : [isXL ? 'stable-diffusion-xl' : 'stable-diffusion']),
  ...(isAdapter ? ['lora', 'template:sd-lora'] : []),
  manifest.algorithm,
  'reward-fine-tuning',
];

const widget = (pictures: Readonly<Record<string, string>>) =>
  Object.entries(pictures).map(([url, prompt]) => ({ text: plainText(prompt), output: { url } }));

/** The evaluation in the hub's form, which names tasks, data sets and metrics. */
function modelIndex({ repository, rewards }: RunFacts, { before, after }: { before: number; after: number }) {
  const reward = rewards.map(({ name }) => name).join(' + ') || 'reward';
  const metric = (type: string, name: string, value: number) => ({ type, name, value: rounded(value) });
  return {
    name: nameOf(repository),
    results: [
      {
        task: { type: 'text-to-image', name: 'Text to image' },
        dataset: { type: 'held-out-prompts', name: 'Held-out prompts' },
        metrics: [
          metric('reward', `Mean ${reward} with the adapter`, after),
          metric('reward_before', `Mean ${reward} without the adapter`, before),
        ],
      },
    ],
  };
}

/** Four decimals, without an exponent, which YAML 1.1 takes for a text. */
const rounded = (value: number): number => Number(value.toFixed(4));

/** A text without the characters that YAML forbids or breaks lines at; line ends of prompts stay. */
const plainText = (text: string): string =>
  text.replace(/(?![\n\t])[\p{Cc}\p{Cs}\u2028\u2029\ufeff\ufffe\uffff]/gu, ' ');
