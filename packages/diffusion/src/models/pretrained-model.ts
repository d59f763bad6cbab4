import { checkOptions, type Params, type StoredTensor } from '@alignprop/autograd-ext';
import {
  hubOptionNames,
  loadParams,
  openWeights,
  readJson,
  resolveSource,
  subfolder as openSubfolder,
  type FileSource,
  type HubOptions,
  type ParamsSpec,
} from '@alignprop/autograd-ext/weights';
import type { ConfigInput } from './model-config.js';

/** A model: a config with every default filled in, and its weights. */
export interface PretrainedModel<C> {
  readonly config: C;
  readonly params: Params;
  /** Returns the model with other weights. */
  withParams(params: Params): PretrainedModel<C>;
}

/** Options of a model class's `fromPretrained`; those of the hub are used for a hub id. */
export interface LoadModelOptions extends HubOptions {
  /** The folder of the model inside the source, such as `unet`. */
  readonly subfolder?: string;
  /** Variant of the weight files, e.g. 'fp16' for `model.fp16.safetensors`. */
  readonly variant?: string;
}

/** A model class. `O` is the type of the options of `fromPretrained`. */
export interface PretrainedModelClass<C, O extends LoadModelOptions = LoadModelOptions> {
  /**
   * @param config missing fields get the defaults of diffusers or transformers
   * @throws if a config value is not supported
   */
  new (config: ConfigInput, params: Params): PretrainedModel<C>;
  /** Returns the weights that a config requires, for `loadParams` and `initParams`. */
  spec(config: ConfigInput): ParamsSpec;
  /**
   * Reads the config and the names and shapes of the weights. The values stay in their files until they are needed.
   * @param source a folder, a hub id or a file source
   * @throws if an option is unknown, files are missing, a config value is not supported, or the weights do not match
   *   the config
   */
  fromPretrained(source: string | FileSource, options?: O): Promise<PretrainedModel<C>>;
}

/** The opened files of a model. */
export interface OpenedModel {
  readonly config: ConfigInput;
  readonly weights: ReadonlyMap<string, StoredTensor>;
}

/** The definition of a model class. */
export interface ModelDefinition<C, O extends LoadModelOptions> {
  /** The class name in diffusers or transformers, for errors. */
  readonly name: string;
  /** Fills in defaults and validates every field. */
  config(input: ConfigInput): C;
  /** Returns the weights that a config requires. */
  spec(config: C): ParamsSpec;
  /** Opens the files of a folder; renames the keys of older files. */
  open(folder: FileSource, options: O): Promise<OpenedModel>;
  /** The names of the options of `fromPretrained` in addition to those of `LoadModelOptions`. */
  optionNames?: readonly string[];
  /** Keys that files may contain and the class does not load. */
  ignored?: readonly RegExp[];
}

/** Creates a model class from its definition. */
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
      const names = ['subfolder', 'variant', ...(definition.optionNames ?? []), ...hubOptionNames];
      checkOptions(`${name}.fromPretrained`, options, names);
      const root = await resolveSource(source, options);
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
 * Opens `config.json` and the weight files beside it.
 * @param fileName name of the weight files without variant and extension: `diffusion_pytorch_model` in diffusers,
 *   `model` in transformers
 */
export async function openModel(
  folder: FileSource,
  fileName: string,
  { variant }: LoadModelOptions = {},
): Promise<OpenedModel> {
  const config = (await readJson(folder, 'config.json')) as ConfigInput;
  return { config, weights: await openWeights(folder, fileName, { variant }) };
}
