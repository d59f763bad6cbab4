import type { AdapterPart } from '../kinds/adapter-part.js';

/** The meaning of one key of an adapter file. */
export interface AdapterKey {
  /** The part of the pipeline: `unet`, `text_encoder`, …; undefined where the key does not name it. */
  readonly component: string | undefined;
  /** The module's path, `mid_block.attentions.0.to_q`; some programs write underscores in place of the dots. */
  readonly module: string;
  readonly part: AdapterPart;
  /** The name that peft gave the adapter, where the key holds it: `lora_A.default.weight`. */
  readonly adapterName?: string;
}

// peft's name of the adapter between the tensor and `.weight`, or at the end.
const NAME = '(?:\\.(?!(?:weight|bias)$)(?<name>[^.]+))?';

/**
 * The spellings of each tensor at the end of a key, behind the module's path: peft's (`.lora_A`), kohya's
 * (`.lora_down`), diffusers' of three times (`.lora.down`, `_lora.down`, `.lora_linear_layer.down`) and LyCORIS'.
 */
const endings: readonly (readonly [AdapterPart, string])[] = [
  ['lora_A', `(?:\\.lora_A|\\.lora_down|[._]lora\\.down|\\.lora_linear_layer\\.down)${NAME}\\.weight`],
  ['lora_B', `(?:\\.lora_B|\\.lora_up|[._]lora\\.up|\\.lora_linear_layer\\.up)${NAME}\\.weight`],
  ['lora_B.bias', `(?:\\.lora_B|\\.lora_up|[._]lora\\.up|\\.lora_linear_layer\\.up)${NAME}\\.bias`],
  ['lora_mid', `\\.lora_mid${NAME}\\.weight`],
  ['alpha', '(?:[._]lora|\\.lora_linear_layer)?\\.alpha'],
  ['dora_scale', `\\.dora_scale${NAME}`],
  ['lora_magnitude_vector', `\\.lora_magnitude_vector${NAME}(?:\\.weight)?`],
  ['diff', '\\.(?:diff|w_norm)'],
  ['diff_b', '\\.(?:diff_b|b_norm)'],
  ['on_input', '\\.on_input'],
  ...(
    [
      ...['hada_w1_a', 'hada_w1_b', 'hada_w2_a', 'hada_w2_b', 'hada_t1', 'hada_t2'],
      ...['lokr_w1', 'lokr_w1_a', 'lokr_w1_b', 'lokr_w2', 'lokr_w2_a', 'lokr_w2_b', 'lokr_t2'],
      'ia3_l',
    ] as AdapterPart[]
  ).map((part) => [part, `\\.${part}${NAME}`] as const),
];

const patterns = endings.map(([part, ending]) => [part, new RegExp(`^(?<path>.+?)${ending}$`)] as const);

/**
 * The beginnings of keys and the part of the pipeline that they name, if they do: diffusers', peft's, kohya's, LyCORIS'
 * and ComfyUI's. Several can follow one another: `unet.base_model.model.`.
 */
const prefixes: readonly (readonly [RegExp, string | undefined])[] = [
  [/^base_model\.model\./, undefined],
  [/^(?:module|_orig_mod)\./, undefined], // of torch's DataParallel and compiler
  [/^unet\./, 'unet'],
  [/^text_encoder\./, 'text_encoder'],
  [/^text_encoder_2\./, 'text_encoder_2'],
  [/^text_encoder_3\./, 'text_encoder_3'],
  [/^transformer\./, 'transformer'],
  [/^lora_unet_/, 'unet'],
  [/^lora_te1?_/, 'text_encoder'],
  [/^lora_te2_/, 'text_encoder_2'],
  [/^lora_te3_/, 'text_encoder_3'],
  [/^lora_transformer_/, 'transformer'],
  [/^lycoris_/, undefined],
  [/^(?:model\.)?diffusion_model\./, 'unet'],
  [/^(?:text_encoders\.)?clip_l\.(?:transformer\.)?/, 'text_encoder'],
  [/^(?:text_encoders\.)?clip_g\.(?:transformer\.)?/, 'text_encoder_2'],
];

/** Reads a key of an adapter file in any known spelling; undefined for any other key. */
export function readKey(key: string): AdapterKey | undefined {
  for (const [part, pattern] of patterns) {
    const { path, name } = pattern.exec(key)?.groups ?? {};
    if (path) return { ...splitPath(path), part, ...(name !== undefined && { adapterName: name }) };
  }
  return undefined;
}

/** Splits the beginning off a path, and gives the rest the names of today's models. */
export function splitPath(path: string): Pick<AdapterKey, 'component' | 'module'> {
  let component: string | undefined;
  let module = path;
  for (let i = 0; i < prefixes.length; i++) {
    const [pattern, name] = prefixes[i]!;
    const rest = module.replace(pattern, '');
    if (rest === module || !rest) continue;
    component ??= name;
    module = rest;
    i = -1; // another prefix may follow
  }
  return { component, module: currentName(module) };
}

/** Names of layers that diffusers used until 0.18: of attention processors, and of the text encoder's attention. */
const currentName = (module: string): string =>
  module
    .replaceAll('.processor.', '.')
    .replace(/(^|[._])self_attn\.to_(q|k|v)$/, '$1self_attn.$2_proj')
    .replace(/(^|[._])self_attn\.to_out$/, '$1self_attn.out_proj')
    .replace(/(^|\.)to_out$/, '$1to_out.0');

const textModule = /^(?:text_model[._])?(?:encoder[._]layers[._]\d|embeddings[._]|final_layer_norm$|text_projection$)/;
const unetModule = new RegExp(
  '^(?:(?:down|up|input|output)_blocks[._]\\d|mid_block[._]|middle_block[._]|conv_in$|conv_out$|conv_norm_out$|' +
    'time_emb|add_embedding[._]|label_emb[._])',
);

/**
 * Returns the part of a pipeline whose modules have such names, for files that do not name it.
 * @param wanted the part that is asked for: it decides which text encoder is meant, and about unknown names
 */
export function guessComponent(module: string, wanted: string): string {
  if (textModule.test(module)) return wanted.startsWith('text_encoder') ? wanted : 'text_encoder';
  return unetModule.test(module) ? 'unet' : wanted;
}
