import type { WeightChange } from '../weight-change.js';
import type { ModuleAdapter } from '../lora-state.js';
import type { AdapterPart, AdapterParts } from './adapter-part.js';

/** The settings of one module: α from its own tensor, and all else from the configuration of the file, if any. */
export interface ModuleSettings {
  /** Returns α for an adapter of rank r, such that the scale is α/r. */
  alphaOf(r: number): number;
  /** The rank in the configuration. */
  readonly rank: number | undefined;
  /** Whether peft's (IA)³ multiplies the module's input; undefined without a configuration. */
  readonly isFeedforward: boolean | undefined;
  /** Whether DoRA's magnitude must be there. */
  readonly useDora: boolean;
  /** Returns the change of W that peft made before training, for an adapter of this rank and scale. */
  baseChange(r: number, scale: number): WeightChange | undefined;
}

/** One kind of adapter: how the tensors of a module become a change of it. */
export interface AdapterKind {
  readonly name: string;
  /** The tensors that make a module one of this kind. */
  readonly marks: readonly AdapterPart[];
  /** The other tensors that it may have. */
  readonly others: readonly AdapterPart[];
  /** @throws an error that completes the sentence "<module> …", if tensors are missing or do not go together */
  read(parts: AdapterParts, settings: ModuleSettings): ModuleAdapter | Promise<ModuleAdapter>;
}

/** Returns a problem for the message of a change that does not fit: `LoHa [4, 4] got, expected [8, 4]`. */
export const misfit = (what: string, got: readonly number[], expected: readonly number[]): string =>
  `${what} [${got}] got, expected [${expected}]`;
