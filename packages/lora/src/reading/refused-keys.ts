/** A kind of file or tensor that is known but not applied. */
interface RefusedKind {
  readonly pattern: RegExp;
  /** The kind, as users know it. */
  readonly kind: string;
  readonly advice: string;
}

const merge = 'Merge it into the model with the program that made it, and use the merged model.';
const otherModel = 'Use an adapter made for Stable Diffusion.';

/** The keys of each kind that is refused; the first that matches names the file. */
const refusedKinds: readonly RefusedKind[] = [
  { pattern: /\.(?:oft_blocks|oft_diag|oft_[rRS]|boft_[RsS])(?:\.|$)/, kind: 'an OFT or BOFT adapter', advice: merge },
  { pattern: /\.(?:[ab][12]\.weight|bm\.weight|glora_[A-E])(?:\.|$)/, kind: 'a GLoRA adapter', advice: merge },
  { pattern: /(?:^|\.)vera_(?:A|B|lambda_[bd])(?:\.|$)/, kind: 'a VeRA adapter', advice: merge },
  { pattern: /\.lora_(?:E|ranknum)(?:\.|$)/, kind: 'an AdaLoRA adapter', advice: merge },
  { pattern: /\.lora_embedding_[AB](?:\.|$)/, kind: 'a LoRA of token embeddings', advice: merge },
  {
    pattern: /\.(?:fourierft_spectrum|hra_u|delora_lambda|randlora_\w+|c3a_kernel|miss_block|bone_)(?:\.|$)/,
    kind: "an adapter of one of peft's other methods",
    advice: merge,
  },
  {
    pattern: /^(?:unet|text_encoder):\d+:(?:up|down)$|^\d+$/,
    kind: "a LoRA of cloneofsimo's scripts, which numbers modules in place of naming them",
    advice: "Convert it with that package's lora_add, or train it again.",
  },
  {
    pattern: /\.to_(?:q|k|v|out)_custom_diffusion\./,
    kind: 'a Custom Diffusion file',
    advice: 'Train a LoRA instead.',
  },
  {
    pattern: /\.(?:set_weight|reshape_weight)$/,
    kind: "a replaced or reshaped weight (ComfyUI's set_weight, reshape_weight)",
    advice: merge,
  },
  {
    pattern: /\.base_layer\.bias$/,
    kind: "biases trained beside the adapter (bias in peft's configuration)",
    advice: merge,
  },
  {
    pattern: /\.base_layer\.weight$/,
    kind: 'the weights of the whole model beside the adapter',
    advice: "Save the adapter alone, with peft's get_peft_model_state_dict.",
  },
  { pattern: /^(?:image_proj|ip_adapter)\.|\.to_[kv]_ip[._]/, kind: 'an IP-Adapter', advice: 'It is no LoRA.' },
  {
    pattern: /^lora_controlnet$|(?:^|[._])(?:input_hint_block|controlnet_cond_embedding)[._]/,
    kind: 'a ControlLoRA or ControlNet',
    advice: 'It is no LoRA of the model.',
  },
  {
    pattern: /^(?:emb_params|clip_[lg]|string_to_param\.\*|string_to_param|string_to_token)$|^string_to_param\./,
    kind: 'a textual inversion embedding',
    advice: 'Load it as an embedding.',
  },
  {
    pattern: /^(?:conv_in|(?:text_model\.)?embeddings\.token_embedding)\.weight$/,
    kind: 'the weights of a whole model',
    advice: 'Give the folder of its pipeline as the model.',
  },
  {
    pattern: /^(?:model\.diffusion_model|first_stage_model|cond_stage_model)\.(?!.*\.(?:lora|hada|lokr)_)/,
    kind: 'a whole model',
    advice: 'Give it as the model.',
  },
  {
    pattern: /(?:^|[._])(?:double_blocks|single_blocks|single_transformer_blocks|joint_blocks|double_layers)[._]/,
    kind: 'an adapter of a transformer (Flux, SD 3, …)',
    advice: otherModel,
  },
  { pattern: /^lora_prior_/, kind: 'an adapter of Stable Cascade', advice: otherModel },
  {
    pattern: /[._](?:motion_modules|temporal_transformer|temp_attentions)[._]/,
    kind: 'an adapter of a video model',
    advice: otherModel,
  },
];

/** Describes the kind of a key that is known but not applied: what it is and what to do; undefined for others. */
export function refusedKey(key: string): Pick<RefusedKind, 'kind' | 'advice'> | undefined {
  return refusedKinds.find(({ pattern }) => pattern.test(key));
}
