import type { Params, StoredTensor } from '@alignprop/autograd-ext';
import { loadParams, openWeights, readJson, resolveSource, subfolder as openSubfolder, type FileSource, type ParamsSpec } from '@alignprop/autograd-ext/weights';
import type { ConfigInput } from './config.js';

/** A model: a config, with every field present, and its weights. */
export interface PretrainedModel<C> {
  readonly config: C;
  readonly params: Params;
  /** The same model with other weights. */
  withParams(params: Params): PretrainedModel<C>;
}

/** The class of a model. */
export interface PretrainedModelClass<C> {
  /**
   * @param config missing fields have the reference's defaults
   * @throws if a config value is not supported
   */
  new (config: ConfigInput, params: Params): PretrainedModel<C>;
  /** The weights that a config demands, for `loadParams` and `initParams`. */
  spec(config: ConfigInput): ParamsSpec;
  /**
   * Reads `config.json` and the weights' names and shapes; the weights themselves stay in their files.
   * @param source a folder, a hub id or a file source
   * @throws if files are missing, a config value is not supported, or weights do not fit the config
   */
  fromPretrained(source: string | FileSource, options?: { subfolder?: string; variant?: string }): Promise<PretrainedModel<C>>;
}

/** What tells one class of models from another. */
export interface ModelDefinition<C> {
  /** The reference's class name, for errors. */
  readonly name: string;
  /** Weight files' name without variant and ending: `diffusion_pytorch_model` in diffusers, `model` in transformers. */
  readonly fileName: string;
  /** Fills in defaults and checks every field. */
  config(input: ConfigInput): C;
  spec(config: C): ParamsSpec;
  /** Puts the keys of older files right. */
  rename?(weights: ReadonlyMap<string, StoredTensor>): ReadonlyMap<string, StoredTensor>;
  /** Keys of a file that this class leaves alone. */
  ignored?: readonly RegExp[];
}

/** Makes the class of a model from what is its own. */
export function definePretrainedModel<C>(definition: ModelDefinition<C>): PretrainedModelClass<C> {
  const { name, fileName, spec, rename = (weights) => weights, ignored } = definition;
  return class Model implements PretrainedModel<C> {
    readonly config: C;
    readonly params: Params;

    constructor(config: ConfigInput, params: Params) {
      this.config = definition.config(config);
      this.params = params;
    }

    static spec(config: ConfigInput): ParamsSpec {
      return spec(definition.config(config));
    }

    static async fromPretrained(source: string | FileSource, { subfolder, variant }: { subfolder?: string; variant?: string } = {}): Promise<Model> {
      const root = await resolveSource(source);
      const folder = subfolder ? openSubfolder(root, subfolder) : root;
      const config = (await readJson(folder, 'config.json')) as ConfigInput;
      const demanded = Model.spec(config);
      const weights = new Map(rename(await openWeights(folder, fileName, { variant })));
      return new Model(config, loadParams(demanded, weights, { owner: name, location: folder.location, ignored }));
    }

    withParams(params: Params): Model {
      return new Model(this.config as ConfigInput, params);
    }
  };
}
