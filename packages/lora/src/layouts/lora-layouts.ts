import { attentionProcessors } from './attention-processors.js';
import { diffusers } from './diffusers.js';
import { diffusersOld } from './diffusers-old.js';
import { kohya } from './kohya.js';
import type { LoraKey } from './lora-key.js';
import type { LoraLayout, LoraWriter } from './lora-layout.js';
import { peft } from './peft.js';

const layouts = [diffusersOld, diffusers, peft, kohya, attentionProcessors] as const;

/**
 * Every layout of LoRA files that is read. A new layout is one object and one entry here.
 * General layouts come first: where several recognise a key, the last of them reads it.
 */
export const loraLayouts: readonly LoraLayout[] = layouts;

/** The layouts that `saveLora` writes. */
export type LoraFormat = Extract<(typeof layouts)[number], { readonly writer: LoraWriter }>['name'];

/** The names of the layouts that `saveLora` writes. */
export const loraFormats: readonly LoraFormat[] = layouts.flatMap((layout) => ('writer' in layout ? layout.name : []));

/** The layout of a key; undefined for a key of no known layout. */
export const layoutOf = (key: string): LoraLayout | undefined =>
  loraLayouts.findLast((layout) => layout.decodeKey(key) !== undefined);

/** The meaning of a key; undefined for a key of no known layout. */
export const readKey = (key: string): LoraKey | undefined => layoutOf(key)?.decodeKey(key);
