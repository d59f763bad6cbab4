import type { Params } from '@alignprop/autograd-ext';
import type { RawTensor } from '@alignprop/autograd-ext/weights';
import type { DoraAxis } from '../dora.js';
import type { LoraLayer } from '../lora-layer.js';
import type { LoraKey } from './lora-key.js';

/** How one family of programs names the tensors of a LoRA file. `readKey` reads the keys of all of them. */
export interface LoraLayout {
  /** The `format` of `saveLora`. */
  readonly name: string;
  /** The key of a tensor; undefined where the layout has no key for it. */
  encodeKey(key: LoraKey): string | undefined;
  /** How `saveLora` writes the layout. */
  readonly writer: LoraWriter;
}

/** How `saveLora` writes a layout. */
export interface LoraWriter {
  /**
   * The place where α is stored: a tensor of each module, a configuration, or nowhere. If it is not stored, readers
   * take α = r, and `saveLora` multiplies B so that this is right. Tensors get one α for all modules of a part, B again
   * multiplied: diffusers looks up those of attention under a name that no module has.
   */
  readonly alpha: 'tensor' | 'config' | 'nowhere';
  /** How DoRA's m is stored; undefined where the layout has no key for it. */
  readonly dora?: DoraWriting;
  /** Returns the texts in the header of the .safetensors file. */
  header(
    tensors: Readonly<Record<string, RawTensor>>,
    components: readonly AdaptedComponent[],
  ): Readonly<Record<string, string>>;
  /**
   * Returns the configuration, a JSON text, that lies beside the .safetensors file. A layout that has one is a folder,
   * for one part of a pipeline; the others are one file.
   */
  config?(component: AdaptedComponent): string;
}

/** How a layout stores DoRA's m. */
export interface DoraWriting {
  /** The axes whose lengths m can be. */
  readonly axes: readonly DoraAxis[];
  /** Whether a file can have modules with DoRA and modules without. */
  readonly perModule: boolean;
  /** Returns the shape in the file of the m of a weight, `[out]` or `[in]`. @param rank 4 for convolutions, else 2 */
  shape(length: number, rank: number, axis: DoraAxis): readonly number[];
}

/** A part of a pipeline and its adapters by the path of their module; there is at least one. */
export interface AdaptedComponent {
  readonly prefix: string;
  readonly params: Params;
  readonly adapters: Readonly<Record<string, LoraLayer>>;
}
