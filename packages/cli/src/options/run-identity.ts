import { maskSecrets } from '@alignprop/autograd-ext/outside';
import type { HubAccess } from '@alignprop/autograd-ext/weights';
import { resolveSource } from '@alignprop/autograd-ext/weights';
import type { IdentityPart, RunIdentity } from '@alignprop/trainer';
import { embeddedModel } from '../embedded-model.js';
import { dataIdentity, type RunData } from './data-options.js';
import { fingerprint, hashText } from './fingerprint.js';
import { collectLora, type LoraChoice } from './lora-options.js';
import type { ModelOptions } from './model-options.js';
import { decoderLocation } from './reward-decoder.js';
import { pathExists } from '../path-exists.js';
import type { PromptList } from './prompt-columns.js';
import type { RunPrompts } from './prompt-options.js';
import { parseRewardOptions, type RewardOptions } from './reward-term-options.js';
import { parseTerm, sourceOfTerm } from './reward-term.js';

/** The inputs of a run, as its options name them. */
export interface RunInputs {
  readonly model: Pick<
    ModelOptions,
    'model' | 'revision' | 'variant' | 'modelConfig' | 'predictionType' | 'token' | 'embedding'
  >;
  /** The adapters that the run starts from. */
  readonly lora: readonly string[];
  readonly loraFreeze?: boolean;
  /** Terms of the reward. */
  readonly reward: readonly string[];
  /** Terms of the reward for held-out prompts; empty where that is the reward itself. */
  readonly evalReward: readonly string[];
  readonly rewardOption: RewardOptions;
  /** The tiny decoder of what the reward judges in training. */
  readonly rewardDecoder?: string;
  readonly prompts: RunPrompts;
  /** The data beside the reward. */
  readonly data?: RunData;
}

/**
 * Describes the inputs of a run: names, and hashes of what they consist of. Reads no file above 64 MiB whole, and
 * downloads at most the index of a model on the hub, to learn its commit.
 */
export async function runIdentity(inputs: RunInputs, access: HubAccess = {}): Promise<RunIdentity> {
  const { model, reward, evalReward, prompts, rewardOption } = inputs;
  const rewardPart = (terms: readonly string[]) => rewardIdentity(terms, rewardOption, [...reward, ...evalReward]);
  const { training, evaluation } = prompts;
  return {
    model: await modelIdentity(model, access),
    ...(model.embedding?.length && { embeddings: await listIdentity(model.embedding) }),
    ...(inputs.lora.length > 0 && { lora: await adapterIdentity(inputs) }),
    reward: await rewardPart(reward),
    ...(inputs.rewardDecoder && { reward_decoder: await decoderIdentity(inputs.rewardDecoder) }),
    ...(evalReward.length > 0 && { eval_reward: await rewardPart(evalReward) }),
    prompts: promptIdentity(training.list),
    ...(inputs.data && { data: await dataIdentity(inputs.data) }),
    ...(evaluation && { eval_prompts: promptIdentity(evaluation.list) }),
  };
}

async function modelIdentity(
  { model, revision, variant, token, ...reading }: RunInputs['model'],
  access: HubAccess,
): Promise<IdentityPart> {
  const location = model ?? embeddedModel.path;
  const name = [model ?? embeddedModel.name, ...(revision ? [`@${revision}`] : [])].join('');
  const found = await fingerprint(location);
  if (found) return { name, variant, ...found, sha256: await readingHash(found.sha256, reading) };
  const commit = await hubCommit(location, { ...access, revision, token });
  const sha256 = hashText(JSON.stringify([location, commit ?? revision, variant]));
  return { name, variant, commit, sha256: await readingHash(sha256, reading) };
}

/** Adds to the hash of a model in one file the options that say how it is read, where they are given. */
async function readingHash(
  sha256: string,
  { modelConfig, predictionType }: Pick<ModelOptions, 'modelConfig' | 'predictionType'>,
): Promise<string> {
  if (modelConfig === undefined && predictionType === undefined) return sha256;
  return hashText(JSON.stringify([sha256, await contentOf(modelConfig), predictionType]));
}

/** The commit of a model on the hub, which the path of a file in the cache tells; undefined if it has no index. */
async function hubCommit(
  location: string,
  options: NonNullable<Parameters<typeof resolveSource>[1]>,
): Promise<string | undefined> {
  const source = await resolveSource(location, options);
  if (!(await source.has('model_index.json'))) return undefined;
  const file = await source.open('model_index.json');
  await file.close();
  return /[\\/]snapshots[\\/]([\da-f]{40})[\\/]/.exec(file.path ?? '')?.[1];
}

async function rewardIdentity(
  terms: readonly string[],
  options: RewardOptions,
  all: readonly string[],
): Promise<IdentityPart> {
  const byReward = parseRewardOptions(options, all.map(sourceOfTerm));
  const parsed = terms.map((term) => parseTerm(term, '--reward'));
  const described = await Promise.all(
    parsed.map(async ({ kind, source, weight, cap, isNormalised }) => ({
      ...(kind === 'file' ? { content: await contentOf(source) } : { source: maskSecrets(source) }),
      settings: [weight, `${cap}`, isNormalised],
      options: Object.fromEntries(
        await Promise.all(
          Object.entries(byReward[source] ?? {})
            .sort(([a], [b]) => (a < b ? -1 : 1))
            .map(async ([option, value]) => [option, await contentOf(value)] as const),
        ),
      ),
    })),
  );
  return {
    name: terms.join(' + '),
    sha256: hashText(JSON.stringify(described)),
    terms: described.map((term, i) => ({ name: terms[i]!, ...term })),
  };
}

/** The hash of what a path leads to; any other value itself. */
const contentOf = async (value: unknown): Promise<unknown> =>
  typeof value === 'string' && pathExists(value) ? ((await fingerprint(value))?.sha256 ?? value) : value;

async function listIdentity(values: readonly string[]): Promise<IdentityPart> {
  return { name: values.join(', '), sha256: hashText(JSON.stringify(await Promise.all(values.map(contentOf)))) };
}

async function decoderIdentity(name: string): Promise<IdentityPart> {
  const location = decoderLocation(name);
  const found = await fingerprint(location);
  return { name, ...found, sha256: found?.sha256 ?? hashText(location) };
}

async function adapterIdentity({ lora, loraFreeze = false }: RunInputs): Promise<IdentityPart> {
  const choices = lora.reduce<readonly LoraChoice[]>((all, text) => collectLora(text, all), []);
  const adapters = await Promise.all(choices.map(async ({ source, weight }) => [await contentOf(source), weight]));
  return {
    name: `${lora.join(', ')}${loraFreeze ? ' (frozen)' : ''}`,
    sha256: hashText(JSON.stringify([adapters, loraFreeze])),
  };
}

function promptIdentity(list: PromptList): IdentityPart {
  const { length } = list.prompts;
  const name = length === 1 ? `'${list.prompts[0]!}'` : `${length} prompts from '${list.prompts[0]!}'`;
  return { name, sha256: hashText(JSON.stringify(list)) };
}
