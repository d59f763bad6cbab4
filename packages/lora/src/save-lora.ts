import { checkOptions, type Params } from '@alignprop/autograd-ext';
import type { RawTensor } from '@alignprop/autograd-ext/weights';
import { record } from '@alignprop/autograd-ext/outside';
import { loraModules } from './adapters.js';
import type { LoraKey, LoraPart } from './layouts/lora-key.js';
import type { AdaptedComponent, LoraLayout, LoraWriter } from './layouts/lora-layout.js';
import { loraFormats, loraLayouts, type LoraFormat } from './layouts/lora-layouts.js';
import type { LoraLayer } from './lora-layer.js';

/**
 * Writes the adapters of a tree. Files are written completely or not at all, and compute what the tree computes,
 * scale included.
 * - `diffusers-old`, the default: what TRL's AlignPropTrainer writes and every program reads. It does not store α,
 *   and readers take α = r; where an adapter's scale is not 1, B is stored multiplied by it. The images are the same
 *   but the factors are not: to continue training exactly with α ≠ r, choose another format.
 * - `diffusers`: newer keys, with r, α and targets in the header.
 * - `peft`: a folder of adapter_config.json and adapter_model.safetensors.
 * - `kohya`: for A1111 and ComfyUI, with a tensor α for each module; the text encoders of SDXL, recognised by its
 *   second one or its UNet, are `lora_te1_` and `lora_te2_`. Where modules differ in α, all get the most common
 *   one and B is multiplied, since diffusers misreads others.
 *
 * Only the adapters are written. Changes of the weights below them (fused adapters, merged kinds) belong to the model.
 * @param path a file that ends in .safetensors; for `peft` a folder
 * @param options.prefix the component that the tree is: `unet`, `text_encoder` or, for SDXL, `text_encoder_2`; peft's
 *   files do not name it
 * @param options.others trees of further components by their prefix, written to the same file
 * @throws if a tree has no adapter, the path does not suit the format, the format is peft and `others` is not empty, or
 *   the format cannot hold a DoRA adapter: `diffusers-old` none, `peft` and `diffusers` none with lengths of columns or
 *   beside LoRA in the same part
 */
export async function saveLora(
  path: string,
  params: Params,
  {
    format = 'diffusers-old',
    prefix = 'unet',
    others = {},
    ...unknown
  }: { format?: LoraFormat; prefix?: string; others?: Readonly<Record<string, Params>> } = {},
): Promise<void> {
  checkOptions('saveLora', unknown, ['format', 'prefix', 'others']);
  const layout = findLayout(format);
  checkPath(path, layout);
  if (layout.writer.isFolder && Object.keys(others).length > 0)
    throw new Error(
      `saveLora: format got '${format}' for several parts of a pipeline, expected one of the others. ` +
        'Save each part to a folder of its own.',
    );
  const components = Object.entries({ [prefix]: params, ...others }).map(([name, tree]) =>
    adaptedComponent(name, tree),
  );
  checkDora(layout, components);
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
  await layout.writer.write(path, sorted, components);
}

function findLayout(format: LoraFormat): LoraLayout {
  const layout = loraLayouts.find(({ name }) => name === format);
  if (layout) return layout;
  throw new Error(`saveLora: format got '${format as string}', expected one of ${loraFormats.join(', ')}.`);
}

function checkPath(path: string, { name, writer: { isFolder } }: LoraLayout): void {
  if (path.endsWith('.safetensors') !== isFolder) return;
  const expected = isFolder ? `a folder for the ${name} format` : 'a file that ends in .safetensors';
  throw new Error(`saveLora: path got '${path}', expected ${expected}.`);
}

/** @throws if the layout cannot hold a component's DoRA adapters */
function checkDora({ name, writer }: LoraLayout, components: readonly AdaptedComponent[]): void {
  for (const { prefix, adapters } of components) {
    const problem = doraProblem(writer, adapters);
    if (!problem) continue;
    const suitable = loraLayouts.filter(({ writer: other }) => !doraProblem(other, adapters));
    throw new Error(
      `saveLora: format got '${name}' for ${problem} (part '${prefix}' of the pipeline), ` +
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

function adaptedComponent(prefix: string, params: Params): AdaptedComponent {
  const adapters = loraModules(params);
  if (Object.keys(adapters).length > 0) return { prefix, params, adapters };
  throw new Error(
    `saveLora: the tree has no adapter (part '${prefix}' of the pipeline). ` +
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
