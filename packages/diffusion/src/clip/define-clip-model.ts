import type { StoredTensor } from '@alignprop/autograd-ext';
import type { ParamsSpec } from '@alignprop/autograd-ext/weights';
import type { ConfigInput } from '../models/config.js';
import { definePretrainedModel, type PretrainedModelClass } from '../models/pretrained-model.js';

// What a CLIPModel is made of; `position_ids` are 0, 1, 2, … and stored by old versions alone.
const modules = ['text_model', 'text_projection', 'vision_model', 'visual_projection', 'logit_scale'];
const positionIds = /(^|\.)position_ids$/;

/**
 * The class of a CLIP model, or of one half of a `CLIPModel`, whose other half it leaves alone.
 * @param own the modules that the class has
 */
export function defineClipModel<C>(name: string, config: (input: ConfigInput) => C, spec: (config: C) => ParamsSpec, own: readonly string[]): PretrainedModelClass<C> {
  const others = modules.filter((module) => !own.includes(module)).map((module) => new RegExp(`^${module}(\\.|$)`));
  return definePretrainedModel({ name, fileName: 'model', config, spec, rename: withPrefix, ignored: [positionIds, ...others] });
}

/** transformers 5 leaves `text_model.` out of a text encoder's file. */
function withPrefix(weights: ReadonlyMap<string, StoredTensor>): ReadonlyMap<string, StoredTensor> {
  const bare = [...weights.keys()].every((path) => !modules.some((module) => path.startsWith(module)));
  return new Map([...weights].map(([path, tensor]) => [bare ? `text_model.${path}` : path, tensor]));
}
