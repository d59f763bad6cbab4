import type { StoredTensor } from '@alignprop/autograd-ext';
import { excerptJson } from '@alignprop/autograd-ext/outside';
import { readJson, resolveSource, type FileSource, type HubAccess } from '@alignprop/autograd-ext/weights';
import { storedWeights, type WeightGroup } from './stored-weights.js';
import type { GraphDef, Signature } from './topology.js';

/** The content of a tfjs `model.json`; the weights are still in their shards. */
export interface ModelFile {
  /** The model's name in messages. */
  readonly location: string;
  /** A GraphModel's nodes, or a LayersModel's layers. */
  readonly topology: { readonly graph: GraphDef; readonly signature: Signature } | { readonly layers: object };
  readonly weights: ReadonlyMap<string, StoredTensor>;
}

interface ModelJson {
  readonly modelTopology?: Readonly<Record<string, unknown>>;
  readonly weightsManifest?: readonly WeightGroup[] | null;
  readonly signature?: Signature;
  readonly userDefinedMetadata?: { readonly signature?: Signature };
}

/**
 * Opens a model that tfjs saved: a JSON file with the topology, and shards of weights beside it.
 * @param location a folder, hub id or file source with a `model.json`, or one of the first two followed by `/name.json`
 * @throws if a file is missing, or its JSON is not such a model
 */
export async function openModelFile(location: string | FileSource, access: HubAccess): Promise<ModelFile> {
  const [, folder, name] = (typeof location === 'string' && /^(?:(.*)[\\/])?([^\\/]+\.json)$/.exec(location)) || [
    undefined,
    location,
    'model.json',
  ];
  const source = await resolveSource(folder ?? '.', access);
  const json = await readJson<ModelJson>(source, name!);
  const where = `${source.location}/${name}`;
  const { modelTopology: topology, weightsManifest, signature, userDefinedMetadata } = json;
  if (!isObject(topology) || !Array.isArray(weightsManifest))
    throw new Error(
      `graphModel: '${where}' has no modelTopology with a weightsManifest, ` +
        'expected the model.json of a tfjs model. Convert other formats with tensorflowjs_converter.',
    );
  checkParts(where, 'weightsManifest', weightsManifest, isGroup);
  if (topology.node !== undefined) checkParts(where, 'node', topology.node, isNode);
  const outputs = userDefinedMetadata?.signature?.outputs ?? signature?.outputs ?? undefined;
  if (outputs !== undefined) checkParts(where, 'outputs', Object.values(outputs), isOutput);
  return {
    location: where,
    weights: await storedWeights(where, source, weightsManifest),
    topology: topology.node ? { graph: topology as unknown as GraphDef, signature: { outputs } } : { layers: topology },
  };
}

/** @throws if a part of a list is not of its kind */
function checkParts(location: string, list: string, parts: unknown, isPart: (part: unknown) => boolean): void {
  const wrong = Array.isArray(parts) ? (parts as unknown[]).findIndex((part) => !isPart(part)) : 0;
  if (wrong < 0) return;
  throw new Error(
    `graphModel: ${list} of '${location}' got ${excerptJson(Array.isArray(parts) ? parts[wrong] : parts)} at ` +
      `position ${wrong}, expected what tfjs writes there. Download the model again.`,
  );
}

type Fields = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isText = (value: unknown): value is string => typeof value === 'string';
const isListOf = (value: unknown, isItem: (item: unknown) => boolean) => Array.isArray(value) && value.every(isItem);
const isFinite = (value: unknown) => value === undefined || Number.isFinite(value);

/** Numbers of elements, which weights are read by: the file's size bounds them. */
const isSize = (value: unknown) => Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 31;

const isGroup = (group: unknown) => isObject(group) && isListOf(group.paths, isText) && isListOf(group.weights, isSpec);

function isSpec(spec: unknown): boolean {
  if (!isObject(spec) || !isText(spec.name) || !isText(spec.dtype) || !isListOf(spec.shape, isSize)) return false;
  const { quantization = { dtype: '' } } = spec;
  return isObject(quantization) && isText(quantization.dtype) && [quantization.scale, quantization.min].every(isFinite);
}

const isNode = (node: unknown) =>
  isObject(node) &&
  isText(node.name) &&
  isText(node.op) &&
  isListOf(node.input ?? [], isText) &&
  isListOf(Object.values(node.attr ?? {}), isObject);

const isOutput = (output: unknown) => isObject(output) && isText(output.name);
