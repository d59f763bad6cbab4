import type { Params, StoredTensor } from '@alignprop/autograd-ext';
import {
  loadParams,
  openWeights,
  readJson,
  resolveSource,
  subfolder as openSubfolder,
  type FileSource,
  type ParamsSpec,
} from '@alignprop/autograd-ext/weights';
import type { ConfigInput } from '../models/config.js';

// What each half of a CLIPModel is made of; `position_ids` are 0, 1, 2, … and stored by old versions alone.
const modules = ['text_model', 'text_projection', 'vision_model', 'visual_projection', 'logit_scale'];
const positionIds = /(^|\.)position_ids$/;

/** Reads a CLIP model, or one half of a `CLIPModel`, from a folder: what its spec does not name of the other half is left alone. */
export async function readClip<C>(
  owner: string,
  source: string | FileSource,
  { subfolder, variant }: { subfolder?: string; variant?: string },
  readConfig: (input: ConfigInput) => C,
  spec: (config: C) => ParamsSpec,
): Promise<{ config: C; params: Params }> {
  const root = await resolveSource(source);
  const folder = subfolder ? openSubfolder(root, subfolder) : root;
  const config = readConfig((await readJson(folder, 'config.json')) as ConfigInput);
  const demanded = spec(config);
  const weights = withPrefix(await openWeights(folder, 'model', { variant }));
  const others = modules.filter((module) => !(module in demanded)).map((module) => new RegExp(`^${module}(\\.|$)`));
  const params = loadParams(demanded, weights, { owner, location: folder.location, ignored: [positionIds, ...others] });
  return { config, params };
}

/** transformers 5 leaves `text_model.` out of a text encoder's file. */
function withPrefix(weights: ReadonlyMap<string, StoredTensor>): Map<string, StoredTensor> {
  const bare = [...weights.keys()].every((path) => !modules.some((module) => path.startsWith(module)));
  return new Map([...weights].map(([path, tensor]) => [bare ? `text_model.${path}` : path, tensor]));
}
