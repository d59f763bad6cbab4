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
import type { ConfigInput } from './model-config.js';

/** A model: a config, with every field present, and its weights. */
export interface PretrainedModel<C> {
  readonly config: C;
  readonly params: Params;
  /** The same model with other weights. */
  withParams(params: Params): PretrainedModel<C>;
}

/** Which of a folder's models is meant. */
export interface LoadModelOptions {
  readonly subfolder?: string;
  /** The `fp16` of `model.fp16.safetensors`. */
  readonly variant?: string;
}

/** The class of a model; `O` are the options of `fromPretrained`. */
export interface PretrainedModelClass<C, O extends LoadModelOptions = LoadModelOptions> {
  /**
   * @param config missing fields have the reference's defaults
   * @throws if a config value is not supported
   */
  new (config: ConfigInput, params: Params): PretrainedModel<C>;
  /** The weights that a config demands, for `loadParams` and `initParams`. */
  spec(config: ConfigInput): ParamsSpec;
  /**
   * Reads the config and the weights' names and shapes; the weights themselves stay in their files.
   * @param source a folder, a hub id or a file source
   * @throws if files are missing, a config value is not supported, or weights do not fit the config
   */
  fromPretrained(source: string | FileSource, options?: O): Promise<PretrainedModel<C>>;
}

/** A model's files, opened. */
export interface OpenedModel {
  readonly config: ConfigInput;
  readonly weights: ReadonlyMap<string, StoredTensor>;
}

/** What tells one class of models from another. */
export interface ModelDefinition<C, O extends LoadModelOptions> {
  /** The reference's class name, for errors. */
  readonly name: string;
  /** Fills in defaults and checks every field. */
  config(input: ConfigInput): C;
  spec(config: C): ParamsSpec;
  /** Opens the files of a folder, and puts the keys of older ones right. */
  open(folder: FileSource, options: O): Promise<OpenedModel>;
  /** Keys of a file that this class leaves alone. */
  ignored?: readonly RegExp[];
}

/** Makes the class of a model from what is its own. */
export function definePretrainedModel<C, O extends LoadModelOptions = LoadModelOptions>(
  definition: ModelDefinition<C, O>,
): PretrainedModelClass<C, O> {
  const { name, spec, ignored } = definition;
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

    static async fromPretrained(source: string | FileSource, options: O = {} as O): Promise<Model> {
      const root = await resolveSource(source);
      const folder = options.subfolder ? openSubfolder(root, options.subfolder) : root;
      const { config, weights } = await definition.open(folder, options);
      return new Model(
        config,
        loadParams(Model.spec(config), weights, { owner: name, location: folder.location, ignored }),
      );
    }

    withParams(params: Params): Model {
      return new Model(this.config as ConfigInput, params);
    }
  };
}

/**
 * Opens `config.json` and the weights beside it.
 * @param fileName weight files' name without variant and ending: `diffusion_pytorch_model` in diffusers, `model` in
 *   transformers
 */
export async function openModel(
  folder: FileSource,
  fileName: string,
  { variant }: LoadModelOptions = {},
): Promise<OpenedModel> {
  const config = (await readJson(folder, 'config.json')) as ConfigInput;
  return { config, weights: await openWeights(folder, fileName, { variant }) };
}
