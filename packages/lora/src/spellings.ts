// How the programs that exchange LoRA files name the two matrices of a module. One table for reading, one for writing.

/** What a key of a LoRA file says. */
export interface LoraKey {
  /** `unet`, `text_encoder`, …; undefined where the file does not say. */
  readonly component: string | undefined;
  /** The module's path; kohya's has underscores in place of dots. */
  readonly module: string;
  readonly part: 'lora_A' | 'lora_B' | 'alpha';
}

/** The layouts that `saveLora` writes. */
export type LoraFormat = 'diffusers-old' | 'diffusers' | 'peft' | 'kohya';

export const loraFormats: readonly LoraFormat[] = ['diffusers-old', 'diffusers', 'peft', 'kohya'];

const parts: Readonly<Record<string, LoraKey['part']>> = {
  lora_A: 'lora_A',
  lora_down: 'lora_A',
  down: 'lora_A',
  lora_B: 'lora_B',
  lora_up: 'lora_B',
  up: 'lora_B',
  alpha: 'alpha',
};

const readers: readonly ((key: string) => LoraKey | undefined)[] = [readKohya, readOldest, readDotted];

/** @returns undefined for a key that belongs to no known layout */
export function readKey(key: string): LoraKey | undefined {
  for (const read of readers) {
    const found = read(key);
    if (found) return found;
  }
  return undefined;
}

const kohyaComponents: Readonly<Record<string, string>> = {
  unet: 'unet',
  te: 'text_encoder',
  te1: 'text_encoder',
  te2: 'text_encoder_2',
};

// kohya, A1111, ComfyUI: lora_unet_mid_block_attentions_0_…_to_out_0.lora_down.weight, .lora_up.weight, .alpha
function readKohya(key: string): LoraKey | undefined {
  const found = /^lora_(unet|te[12]?)_([^.]+)\.(?:(lora_down|lora_up)\.weight|(alpha))$/.exec(key);
  return found
    ? { component: kohyaComponents[found[1]!], module: found[2]!, part: parts[found[3] ?? found[4]!]! }
    : undefined;
}

// diffusers' attention processors of 2023: unet.….attn1.processor.to_out_lora.down.weight
function readOldest(key: string): LoraKey | undefined {
  const found = /^(.+)\.processor\.(to_q|to_k|to_v|to_out)_lora\.(?:(down|up)\.weight|(alpha))$/.exec(key);
  if (!found) return undefined;
  const layer = found[2] === 'to_out' ? 'to_out.0' : found[2];
  return { ...splitComponent(`${found[1]}.${layer}`), part: parts[found[3] ?? found[4]!]! };
}

// TRL and diffusers: unet.….to_q.lora.down.weight; diffusers and peft: unet.….to_q.lora_A.weight,
// base_model.model.….lora_A.weight
function readDotted(key: string): LoraKey | undefined {
  const found =
    /^(?:base_model\.model\.)?(.+)\.(?:(?:lora\.(down|up)|(lora_A|lora_B|lora_down|lora_up))\.weight|(alpha))$/.exec(
      key,
    );
  return found ? { ...splitComponent(found[1]!), part: parts[(found[2] ?? found[3] ?? found[4])!]! } : undefined;
}

function splitComponent(path: string): { component: string | undefined; module: string } {
  const found = /^(unet|text_encoder|text_encoder_2|transformer)\.(.+)$/.exec(path);
  return found ? { component: found[1], module: found[2]! } : { component: undefined, module: path };
}

/** The name of a module in a file of one format, without the ending that names A, B or alpha. */
export const fileModule: Readonly<Record<LoraFormat, (module: string, prefix: string) => string>> = {
  'diffusers-old': (module, prefix) => (prefix ? `${prefix}.${module}` : module),
  diffusers: (module, prefix) => (prefix ? `${prefix}.${module}` : module),
  peft: (module) => `base_model.model.${module}`,
  kohya: (module, prefix) => `lora_${kohyaName(prefix)}_${underscored(module)}`,
};

/** The endings of A's and B's keys in a file of one format. */
export const fileEndings: Readonly<Record<LoraFormat, readonly [a: string, b: string]>> = {
  'diffusers-old': ['lora.down.weight', 'lora.up.weight'],
  diffusers: ['lora_A.weight', 'lora_B.weight'],
  peft: ['lora_A.weight', 'lora_B.weight'],
  kohya: ['lora_down.weight', 'lora_up.weight'],
};

/** A module's path as kohya writes it; different paths can give the same name. */
export const underscored = (module: string): string => module.replaceAll('.', '_');

const kohyaName = (prefix: string) =>
  Object.keys(kohyaComponents).find((name) => kohyaComponents[name] === prefix) ?? prefix;
