import { diffusers } from './diffusers.js';
import { diffusersOld } from './diffusers-old.js';
import { kohya } from './kohya.js';
import type { LoraLayout } from './lora-layout.js';
import { peft } from './peft.js';

const layouts = [diffusersOld, diffusers, peft, kohya] as const;

/** Every layout of LoRA files that is written. A new layout is one object and one entry here. */
export const loraLayouts: readonly LoraLayout[] = layouts;

/** The names of the layouts. */
export type LoraFormat = (typeof layouts)[number]['name'];

/** The names of the layouts, as `saveLora` takes them. */
export const loraFormats: readonly LoraFormat[] = layouts.map(({ name }) => name);
