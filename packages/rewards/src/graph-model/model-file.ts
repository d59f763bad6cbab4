import type { StoredTensor } from '@alignprop/autograd-ext';
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
  readonly modelTopology?: Partial<GraphDef> & { readonly model_config?: unknown; readonly class_name?: unknown };
  readonly weightsManifest?: readonly WeightGroup[];
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
  const { modelTopology: topology, weightsManifest } = json ?? {};
  if (!topology || !Array.isArray(weightsManifest))
    throw new Error(
      `graphModel: '${where}' has no modelTopology with a weightsManifest, ` +
        'expected the model.json of a tfjs model. Convert other formats with tensorflowjs_converter.',
    );
  return {
    location: where,
    weights: await storedWeights(where, source, weightsManifest),
    topology: topology.node
      ? { graph: topology as GraphDef, signature: json.userDefinedMetadata?.signature ?? json.signature ?? {} }
      : { layers: topology },
  };
}
