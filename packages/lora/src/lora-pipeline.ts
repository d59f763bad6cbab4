import { dispose } from '@tensorflow/tfjs-core';
import { checkOptions, type Params } from '@alignprop/autograd-ext';
import { excerptList, record } from '@alignprop/autograd-ext/outside';
import { hubOptionNames, type FileSource, type HubOptions } from '@alignprop/autograd-ext/weights';
import { loraTensors } from './adapters.js';
import { applyLora } from './apply-lora.js';
import { fuseLora } from './fuse-lora.js';
import { openLora, type OpenedAdapter } from './load-lora.js';
import type { LoraState } from './lora-state.js';

/** A pipeline whose weights can be replaced: diffusion's `StableDiffusionPipeline`, or one of your own. */
export interface AdaptablePipeline<P> {
  /** The weights of its parts: `unet`, `text_encoder`, … */
  readonly params: Readonly<Partial<Record<string, Params>>>;
  /** Returns a pipeline with other weights. */
  withParams(params: Readonly<Record<string, Params>>): P;
}

/** The options of `loadLoraWeights`; those of the hub are for sources on it. */
export interface LoadLoraWeightsOptions extends HubOptions {
  /** The path of the file within a folder or repository. */
  readonly weightName?: string;
  /** The name for `setAdapters`; by default `default_0`, `default_1`, … */
  readonly adapterName?: string;
}

/** The methods that `withLora` adds to a pipeline, named as diffusers' own. */
export interface LoraMethods {
  /**
   * Loads an adapter, which then is the only active one, with weight 1. Embeddings of tokens in its file are left out:
   * `openLora` returns them, and `loadTextualInversion` of the pipeline takes them.
   * @param source a file of safetensors or torch, a folder, a hub id, `org/name/path`, or a `FileSource`
   * @throws if it cannot be read, is for another model, or the name is taken; the pipeline stays as it was
   */
  loadLoraWeights(source: string | FileSource, options?: LoadLoraWeightsOptions): Promise<void>;
  /**
   * Makes adapters active, one upon the other in this order, and all others inactive.
   * @param weights one for each adapter, or one for all; any finite numbers, 1 by default
   * @throws if a name is unknown or given twice, or the numbers do not match
   */
  setAdapters(names: string | readonly string[], weights?: number | readonly number[]): Promise<void>;
  /** The names of the active adapters, in the order in which they are applied. */
  getActiveAdapters(): string[];
  /** The names of the adapters of each part. */
  getListAdapters(): Record<string, string[]>;
  /** Forgets adapters. @throws if a name is unknown */
  deleteAdapters(names: string | readonly string[]): Promise<void>;
  /**
   * Makes the active adapters part of the weights: they stay after `unloadLoraWeights`.
   * @param options.loraScale multiplies their weights; any finite number
   * @throws if no adapter is active, or adapters are fused already
   */
  fuseLora(options?: { loraScale?: number }): Promise<void>;
  /** Undoes `fuseLora`: the adapters are active as before. @throws if none are fused */
  unfuseLora(): Promise<void>;
  /** Forgets all adapters. Weights stay as `fuseLora` made them. */
  unloadLoraWeights(): void;
}

/**
 * Adds diffusers' methods for adapters to a pipeline: `loadLoraWeights`, `setAdapters`, `fuseLora`, … Everything else,
 * such as `generate`, is that of the given pipeline with the active adapters. These are added to the weights when an
 * engine reads them, so that drawing is as fast as without; nothing has to be freed.
 * @param pipeline stays as it is
 */
export function withLora<P extends AdaptablePipeline<P> & object>(pipeline: P): P & LoraMethods {
  const adapters = new PipelineAdapters(pipeline);
  return new Proxy(pipeline, {
    get(_, name) {
      if (methodNames.has(name)) {
        const method = adapters[name as keyof LoraMethods] as (...args: unknown[]) => unknown;
        return method.bind(adapters);
      }
      const value: unknown = Reflect.get(adapters.pipeline, name, adapters.pipeline);
      return typeof value === 'function' ? (value.bind(adapters.pipeline) as unknown) : value;
    },
  }) as P & LoraMethods;
}

const methodNames: ReadonlySet<string | symbol> = new Set<keyof LoraMethods>([
  'loadLoraWeights',
  'setAdapters',
  'getActiveAdapters',
  'getListAdapters',
  'deleteAdapters',
  'fuseLora',
  'unfuseLora',
  'unloadLoraWeights',
]);

type Weights = ReadonlyMap<string, number>;

class PipelineAdapters<P extends AdaptablePipeline<P>> implements LoraMethods {
  /** The pipeline with the active adapters. */
  pipeline: P;
  #base: P;
  #fused: { readonly base: P; readonly active: Weights } | undefined;
  readonly #adapters = new Map<string, OpenedAdapter>();
  #active: Weights = new Map();

  constructor(pipeline: P) {
    this.pipeline = this.#base = pipeline;
  }

  async loadLoraWeights(
    source: string | FileSource,
    { weightName: file, adapterName, ...options }: LoadLoraWeightsOptions = {},
  ): Promise<void> {
    checkOptions('loadLoraWeights', options, ['weightName', 'adapterName', ...hubOptionNames]);
    const name = adapterName ?? this.#freeName();
    if (this.#adapters.has(name))
      throw new Error(
        `loadLoraWeights: adapterName got '${name}', expected a name that no adapter has. ` +
          'Choose another, or call deleteAdapters first.',
      );
    const adapter = await openLora(source, { ...options, file });
    this.#checkParts(adapter);
    this.#adapters.set(name, adapter);
    try {
      await this.#activate(new Map([[name, 1]]));
    } catch (error) {
      this.#adapters.delete(name);
      throw error;
    }
  }

  async setAdapters(names: string | readonly string[], weights: number | readonly number[] = 1): Promise<void> {
    const list = [names].flat();
    const scales = typeof weights === 'number' ? list.map(() => weights) : weights;
    this.#checkNames('setAdapters', list);
    if (scales.length !== list.length || !scales.every(Number.isFinite))
      throw new Error(
        `setAdapters: weights got [${scales.join(', ')}], expected ${list.length} finite numbers, one an adapter.`,
      );
    await this.#activate(new Map(list.map((name, i) => [name, scales[i]!])));
  }

  getActiveAdapters(): string[] {
    return [...this.#active.keys()];
  }

  getListAdapters(): Record<string, string[]> {
    const names = record<string[]>();
    for (const [name, { components }] of this.#adapters)
      for (const part of Object.keys(components)) (names[part] ??= []).push(name);
    return names;
  }

  async deleteAdapters(names: string | readonly string[]): Promise<void> {
    const list = [names].flat();
    this.#checkNames('deleteAdapters', list);
    await this.#activate(new Map([...this.#active].filter(([name]) => !list.includes(name))));
    for (const name of list) this.#adapters.delete(name);
  }

  async fuseLora({ loraScale = 1, ...others }: { loraScale?: number } = {}): Promise<void> {
    checkOptions('fuseLora', others, ['loraScale']);
    if (!Number.isFinite(loraScale)) throw new Error(`fuseLora: loraScale got ${loraScale}, expected a finite number.`);
    if (this.#active.size === 0 || this.#fused)
      throw new Error(
        `fuseLora: got ${this.#fused ? 'fused adapters' : 'no active adapter'}, expected active ones that are not ` +
          `fused. Call ${this.#fused ? 'unfuseLora' : 'loadLoraWeights or setAdapters'} first.`,
      );
    const active = this.#active;
    const fused = await this.#apply(new Map([...active].map(([name, weight]) => [name, weight * loraScale])));
    this.#fused = { base: this.#base, active };
    this.pipeline = this.#base = fused;
    this.#active = new Map();
  }

  async unfuseLora(): Promise<void> {
    if (!this.#fused) throw new Error('unfuseLora: got no fused adapters. Call fuseLora first.');
    const { base, active } = this.#fused;
    this.#base = base;
    this.#fused = undefined;
    await this.#activate(new Map([...active].filter(([name]) => this.#adapters.has(name))));
  }

  unloadLoraWeights(): void {
    this.#adapters.clear();
    this.#active = new Map();
    this.pipeline = this.#base;
  }

  #freeName(): string {
    let i = 0;
    while (this.#adapters.has(`default_${i}`)) i++;
    return `default_${i}`;
  }

  #checkNames(method: string, names: readonly string[]): void {
    const wrong = names.filter((name, i) => !this.#adapters.has(name) || names.indexOf(name) !== i);
    if (wrong.length > 0)
      throw new Error(
        `${method}: got ${excerptList(wrong)}, expected different names of adapters that are loaded: ` +
          `${excerptList([...this.#adapters.keys()]) || 'there are none'}.`,
      );
  }

  #checkParts({ location, components }: OpenedAdapter): void {
    const foreign = Object.keys(components).filter((part) => !Object.hasOwn(this.#base.params, part));
    if (foreign.length > 0)
      throw new Error(
        `loadLoraWeights: ${location} adapts ${excerptList(foreign)}, expected ` +
          `${Object.keys(this.#base.params).join(' or ')}. Give an adapter made for this model.`,
      );
  }

  async #activate(active: Weights): Promise<void> {
    this.pipeline = await this.#apply(active);
    this.#active = active;
  }

  /** The base with adapters, one upon the other. */
  async #apply(active: Weights): Promise<P> {
    const params = record<Params>();
    for (const [name, scale] of active)
      for (const [part, state] of Object.entries(this.#adapters.get(name)!.components))
        params[part] = await mergeLora(params[part] ?? this.#base.params[part]!, state, scale);
    return Object.keys(params).length > 0 ? this.#base.withParams(params) : this.#base;
  }
}

/** Adds an adapter to the weights. */
async function mergeLora(params: Params, state: LoraState, scale: number): Promise<Params> {
  const adapted = await applyLora(params, state, { scale });
  const layers = Object.values(loraTensors(adapted));
  try {
    return layers.length > 0 ? await fuseLora(adapted) : adapted;
  } finally {
    dispose(layers);
  }
}
