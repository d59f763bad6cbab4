import { excerpt } from '@alignprop/autograd-ext/outside';
import type { Variable } from '@tensorflow/tfjs-core';
import type { Collective } from '../collective/collective.js';
import { exchange, shared } from '../collective/exchange.js';
import { describeByRank } from '../collective/rank-groups.js';
import { broadcastVariables } from '../collective/tensors.js';
import { canonicalJson } from './canonical-json.js';
import type { RunIdentity, RunManifest } from './manifest.js';

/** Describes what a rank is about to train. */
export interface JoiningRank {
  readonly manifest: RunManifest;
  readonly globalStep: number;
  /** The folder of the checkpoint that it resumed from. */
  readonly checkpoint?: string;
  readonly variables: Readonly<Record<string, Variable>>;
}

/** Lists what must be the same on all ranks: settings by value, inputs by the hashes of their contents. */
interface Terms {
  readonly settings: Readonly<Record<string, unknown>>;
  readonly inputs: RunIdentity;
}

/**
 * Starts a run on all ranks: checks that they agree on everything that the gradients depend on, and copies the weights
 * of rank 0 to the others.
 * @throws on all ranks, if their algorithms, configurations, inputs, package versions, checkpoints or variables differ:
 *   one error that names each difference, with the ranks
 */
export async function joinRanks(collective: Collective, rank: JoiningRank): Promise<void> {
  const terms = await termsOf(rank);
  const hashes = await exchange(collective, 'the start', await sha256(canonicalJson(comparable(terms))));
  if (new Set(hashes).size > 1) {
    const differences = differencesBetween(await exchange(collective, 'the differences at the start', terms));
    throw shared(
      new Error(
        `Collective: ${differences.join('; ')}, expected the same on all ranks. ` +
          'Give all processes the same options, files and package versions.',
      ),
    );
  }
  await broadcastVariables(collective, rank.variables);
}

/** Versions that need not agree: gradients are averaged, and the weights move by exact arithmetic. */
const freeVersions: readonly string[] = ['node', 'platform'];

async function termsOf({ manifest, globalStep, checkpoint, variables }: JoiningRank): Promise<Terms> {
  const versions = Object.entries(manifest.versions ?? {}).filter(([name]) => !freeVersions.includes(name));
  const shapes = Object.entries(variables).map(([path, { shape }]) => [path, shape]);
  return {
    settings: {
      algorithm: manifest.algorithm,
      ...manifest.config,
      ...Object.fromEntries(versions.map(([name, version]) => [`the version of ${name}`, version])),
      'steps taken': globalStep,
    },
    inputs: {
      ...manifest.identity,
      ...(checkpoint !== undefined && { checkpoint: await checkpointIdentity(checkpoint) }),
      'trained weights': { name: `${shapes.length} tensors`, sha256: await sha256(canonicalJson(shapes)) },
    },
  };
}

/** Identifies a checkpoint by its state.json, which has the hashes of its other files. */
async function checkpointIdentity(folder: string): Promise<RunIdentity[string]> {
  const { readFile } = await import('node:fs/promises');
  return { name: folder, sha256: await sha256(await readFile(`${folder}/state.json`, 'utf8')) };
}

/** Inputs compare by their hashes: paths may differ between machines. */
const comparable = ({ settings, inputs }: Terms) => ({
  settings,
  inputs: Object.fromEntries(Object.entries(inputs).map(([name, part]) => [name, part.sha256])),
});

function differencesBetween(ranks: readonly Terms[]): readonly string[] {
  const settings = differingValues(ranks.map((rank) => rank.settings));
  const inputs = namesOf(ranks.map((rank) => rank.inputs)).flatMap((name) => differencesOfInput(name, ranks));
  return [...settings, ...inputs];
}

/** Names what differs in an input: its parts, such as a file of a model, where these tell, or else the input itself. */
function differencesOfInput(name: string, ranks: readonly Terms[]): readonly string[] {
  const parts = ranks.map(({ inputs }) => inputs[name]);
  if (new Set(parts.map((part) => part?.sha256)).size === 1) return [];
  if (new Set(parts.map((part) => part?.name)).size === 1) {
    const details = differingValues(parts.map((part) => detailsOf(part, name)));
    if (details.length > 0) return details;
  }
  const shown = parts.map((part) => (part ? `${part.name} (sha256 ${shortHash(part.sha256)})` : 'none'));
  return [`${name} got ${describeByRank(shown)}`];
}

/** Flattens the details of an input, each named by the way to it: `reward score.mjs options quality`. */
function detailsOf(value: unknown, path: string, isTop = true): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null) return { [path]: value };
  const entries = Object.entries(value as Readonly<Record<string, unknown>>)
    .filter(([key]) => key !== 'name' && key !== 'path' && !(isTop && key === 'sha256'))
    .map(([key, inner]) => detailsOf(inner, [path, ...labelsOf(inner, key)].join(' '), false));
  return Object.assign({}, ...entries) as Readonly<Record<string, unknown>>;
}

/** An element of a list goes by its name or path; lists and hashes have no names of their own. */
function labelsOf(value: unknown, key: string): readonly string[] {
  const { name, path } = (value ?? {}) as { readonly name?: unknown; readonly path?: unknown };
  if (key === 'sha256' || Array.isArray(value) || path === '') return [];
  return [typeof name === 'string' ? name : typeof path === 'string' ? path : key];
}

/** Names the values that differ between records, with the ranks that have which. */
const differingValues = (records: readonly Readonly<Record<string, unknown>>[]): readonly string[] =>
  namesOf(records).flatMap((name) => {
    const values = records.map((record) => canonicalJson(record[name]));
    return new Set(values).size > 1 ? [`${name} got ${describeByRank(values.map(shorten))}`] : [];
  });

const namesOf = (records: readonly object[]): readonly string[] => [
  ...new Set(records.flatMap((record) => Object.keys(record))),
];

/** The longest value that is printed whole, in characters. */
const longestValue = 80;

function shorten(json: string): string {
  if (/^"[\da-f]{64}"$/.test(json)) return `sha256 ${shortHash(json.slice(1))}`;
  return excerpt(json, longestValue);
}

const shortHash = (hash: string): string => `${hash.slice(0, 8)}…`;

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** The options that say how many images a process takes; those of DDPO have the batches of its epochs. */
export interface BatchOptions {
  readonly train_batch_size: number;
  readonly train_gradient_accumulation_steps: number;
  readonly sample_batch_size?: number;
  readonly sample_num_batches_per_epoch?: number;
}

/** Describes how many images an optimizer step takes, or an epoch of DDPO. */
export function describeRanks({ size }: Collective, config: BatchOptions): string {
  const { sample_batch_size: sampled, sample_num_batches_per_epoch: batches = 1 } = config;
  const [batch, rounds, name, total] =
    sampled === undefined
      ? [config.train_batch_size, config.train_gradient_accumulation_steps, 'micro-batches', 'a step']
      : [sampled, batches, 'batches', 'an epoch'];
  const repeated = rounds > 1 ? ` × ${rounds} ${name}` : '';
  return `${size} processes: ${size} × ${batch}${repeated} = ${size * batch * rounds} images ${total}.`;
}
