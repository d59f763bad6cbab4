import { checkOptions, optionNames, type Params } from '@alignprop/autograd-ext';
import { encodeSafetensors, type RawTensor } from '@alignprop/autograd-ext/weights';
import { record } from '@alignprop/autograd-ext/outside';
import { loraModules } from './adapters.js';
import type { LoraKey, LoraPart } from './layouts/lora-key.js';
import type { AdaptedComponent, LoraLayout, LoraWriter } from './layouts/lora-layout.js';
import { loraFormats, loraLayouts, type LoraFormat } from './layouts/lora-layouts.js';
import type { LoraLayer } from './lora-layer.js';

/** Options of `saveLora` and `encodeLora`. */
export interface SaveLoraOptions {
  /** The layout of the file; see `saveLora`. `diffusers-old` by default. */
  format?: LoraFormat;
  /**
   * The component that the tree is: `unet`, `text_encoder` or, for SDXL, `text_encoder_2`; peft's files do not name it.
   * `unet` by default.
   */
  prefix?: string;
  /** Trees of further components by their prefix, written to the same file. */
  others?: Readonly<Record<string, Params>>;
}

const saveLoraOptionNames = optionNames<SaveLoraOptions>({ format: true, prefix: true, others: true });

/**
 * Encodes the adapters of a tree as the bytes of a .safetensors file, where there is no disk to write to: in a browser,
 * for a download. The bytes are those that `saveLora` writes.
 * @throws as `saveLora`, and for the format `peft`, which is a folder
 */
export async function encodeLora(params: Params, options: SaveLoraOptions = {}): Promise<Uint8Array> {
  const { layout, tensors, components } = await adapterTensors('encodeLora', params, options);
  if (layout.writer.config)
    throw new Error(`encodeLora: format got '${layout.name}', which is a folder, expected one of the others.`);
  return encodeSafetensors(tensors, layout.writer.header(tensors, components));
}

/** The contents of an adapter's file. */
export interface AdapterTensors {
  readonly layout: LoraLayout;
  /** The tensors by their keys in the file, sorted. */
  readonly tensors: Readonly<Record<string, RawTensor>>;
  readonly components: readonly [AdaptedComponent, ...AdaptedComponent[]];
}

/**
 * Reads the adapters of trees as the tensors of a file.
 * @param owner the function that errors name
 * @throws if a tree has no adapter, the format is a folder and there are several trees, or it cannot hold an adapter
 */
export async function adapterTensors(
  owner: string,
  params: Params,
  { format = 'diffusers-old', prefix = 'unet', others = {}, ...unknown }: SaveLoraOptions,
): Promise<AdapterTensors> {
  checkOptions(owner, unknown, saveLoraOptionNames);
  const layout = findLayout(owner, format);
  if (layout.writer.config && Object.keys(others).length > 0)
    throw new Error(
      `${owner}: format got '${format}' for several parts of a pipeline, expected one of the others. ` +
        'Save each part to a folder of its own.',
    );
  const components = Object.entries({ [prefix]: params, ...others }).map(([name, tree]) =>
    adaptedComponent(owner, name, tree),
  );
  checkDora(owner, layout, components);
  const isXL = hasTwoTextEncoders(components);
  const tensors = record<RawTensor>();
  for (const { prefix: component, adapters } of components) {
    const alphaOf = writtenAlpha(layout.writer, adapters);
    for (const [module, adapter] of Object.entries(adapters)) {
      const names = { component, module, isXL, alpha: alphaOf(adapter) };
      Object.assign(tensors, await moduleTensors(layout, names, adapter));
    }
  }
  const sorted = Object.fromEntries(Object.entries(tensors).sort(([a], [b]) => (a < b ? -1 : 1)));
  return { layout, tensors: sorted, components: components as [AdaptedComponent, ...AdaptedComponent[]] };
}

function findLayout(owner: string, format: LoraFormat): LoraLayout {
  const layout = loraLayouts.find(({ name }) => name === format);
  if (layout) return layout;
  throw new Error(`${owner}: format got '${format as string}', expected one of ${loraFormats.join(', ')}.`);
}

/** @throws if the layout cannot hold a component's DoRA adapters */
function checkDora(owner: string, { name, writer }: LoraLayout, components: readonly AdaptedComponent[]): void {
  for (const { prefix, adapters } of components) {
    const problem = doraProblem(writer, adapters);
    if (!problem) continue;
    const suitable = loraLayouts.filter(({ writer: other }) => !doraProblem(other, adapters));
    throw new Error(
      `${owner}: format got '${name}' for ${problem} (part '${prefix}' of the pipeline), ` +
        `expected ${suitable.map((layout) => layout.name).join(' or ')}.`,
    );
  }
}

/** Returns the DoRA adapters that a layout cannot hold; undefined if it can hold all. */
function doraProblem({ dora }: LoraWriter, adapters: AdaptedComponent['adapters']): string | undefined {
  const modules = Object.keys(adapters);
  const axisOf = (module: string) => adapters[module]!.dora?.axis;
  const adapted = modules.find(axisOf);
  const unsuitable = modules.find((module) => axisOf(module) && !dora?.axes.includes(axisOf(module)!));
  if (unsuitable) return `DoRA in ${unsuitable}${axisOf(unsuitable) === 'input' ? ' with lengths of columns' : ''}`;
  const plain = modules.find((module) => !axisOf(module));
  return adapted && plain && !dora!.perModule ? `DoRA in ${adapted} beside LoRA in ${plain}` : undefined;
}

function adaptedComponent(owner: string, prefix: string, params: Params): AdaptedComponent {
  const adapters = loraModules(params);
  if (Object.keys(adapters).length > 0) return { prefix, params, adapters };
  throw new Error(
    `${owner}: the tree has no adapter (part '${prefix}' of the pipeline). ` +
      'Call addLora or applyLora first, and unfuseLora where it is fused.',
  );
}

/** Whether the parts are those of SDXL: its second text encoder is there, or a UNet that takes a pooled text. */
const hasTwoTextEncoders = (components: readonly AdaptedComponent[]): boolean =>
  components.some(({ prefix, params }) => prefix === 'text_encoder_2' || 'add_embedding' in params);

/** Returns the α that a file has for each adapter of a part, or that its readers take where it has none. */
function writtenAlpha({ alpha }: LoraWriter, adapters: AdaptedComponent['adapters']): (adapter: LoraLayer) => number {
  if (alpha === 'nowhere') return ({ r }) => r;
  if (alpha === 'config') return (adapter) => adapter.alpha;
  const alphas = Object.values(adapters).flatMap((adapter) => adapter.alpha || []);
  const count = (value: number) => alphas.filter((other) => other === value).length;
  const mostCommon = alphas.reduce((best, value) => (count(value) > count(best) ? value : best), alphas[0] ?? 0);
  return () => mostCommon;
}

/** Returns the tensors of one adapter by their keys in the file. */
async function moduleTensors(
  { encodeKey, writer }: LoraLayout,
  { alpha, ...names }: Omit<LoraKey, 'part'> & { readonly alpha: number },
  adapter: LoraLayer,
): Promise<Record<string, RawTensor>> {
  const { loraA, loraB, dora, shape } = adapter;
  const [a, b, m] = await Promise.all([loraA, loraB, dora?.magnitude].map(async (tensor) => tensor?.data<'float32'>()));
  const factor = adapter.alpha === alpha ? 1 : (adapter.scale * adapter.r) / alpha;
  const parts: Partial<Record<LoraPart, RawTensor>> = {
    lora_A: { dtype: 'F32', shape: loraA.shape, data: a! },
    lora_B: { dtype: 'F32', shape: loraB.shape, data: factor === 1 ? b! : b!.map((value) => value * factor) },
    ...(writer.alpha === 'tensor' && { alpha: { dtype: 'F32', shape: [], data: Float32Array.of(alpha) } }),
    ...(dora && {
      magnitude: { dtype: 'F32', shape: writer.dora!.shape(m!.length, shape.length, dora.axis), data: m! },
    }),
  };
  const keyOf = (part: string) => encodeKey({ ...names, part: part as LoraPart })!;
  return Object.fromEntries(Object.entries(parts).map(([part, tensor]) => [keyOf(part), tensor]));
}
