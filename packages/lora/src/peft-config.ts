import { matches } from './modules.js';

/** The values of a peft configuration that the meaning of a file depends on. */
export interface PeftConfig {
  readonly r: number;
  readonly lora_alpha: number;
  readonly target_modules: readonly string[];
  readonly rank_pattern: Readonly<Record<string, number>>;
  readonly alpha_pattern: Readonly<Record<string, number>>;
}

// Every other field that peft 0.21 writes, at its default: readers pass all of them to LoraConfig.
const defaults = {
  alora_invocation_tokens: null,
  arrow_config: null,
  auto_mapping: null,
  base_model_name_or_path: null,
  bias: 'none',
  corda_config: null,
  ensure_weight_tying: false,
  eva_config: null,
  exclude_modules: null,
  fan_in_fan_out: false,
  inference_mode: false,
  init_lora_weights: 'gaussian',
  kasa_config: null,
  layer_replication: null,
  layers_pattern: null,
  layers_to_transform: null,
  loftq_config: {},
  lora_bias: false,
  lora_dropout: 0.0,
  lora_ga_config: null,
  megatron_config: null,
  megatron_core: 'megatron.core',
  modules_to_save: null,
  monteclora_config: null,
  peft_type: 'LORA',
  peft_version: '0.21.0',
  qalora_group_size: 16,
  revision: null,
  target_parameters: null,
  task_type: null,
  trainable_token_indices: null,
  use_bdlora: null,
  use_dora: false,
  use_qalora: false,
  use_rslora: false,
  velora_config: null,
};

/** peft's JSON: keys in alphabetical order, two spaces. `prefix` goes before every key, as in diffusers' metadata. */
export function peftJson(
  config: PeftConfig,
  { prefix = '', inferenceMode = false }: { prefix?: string; inferenceMode?: boolean },
): string {
  const fields = { ...defaults, ...config, inference_mode: inferenceMode };
  const named = Object.entries(fields).map(([key, value]) => [prefix ? `${prefix}.${key}` : key, value] as const);
  return JSON.stringify(Object.fromEntries(named.sort(([a], [b]) => (a < b ? -1 : 1))), null, 2);
}

type Fields = Readonly<Record<string, unknown>>;

/**
 * The α of a module of rank r as peft computes it, from the fields of an adapter_config.json.
 * @throws if the configuration is not one of plain LoRA
 */
export function peftAlpha(fields: Fields, location: string): (module: string, r: number) => number {
  const problems = unsupported(fields);
  if (problems.length)
    throw new Error(`loadLora: ${location}: ${problems.join('; ')}. Merge the adapter with peft instead.`);
  const patterns = Object.entries((fields.alpha_pattern ?? {}) as Record<string, number>);
  return (module, r) => {
    const pattern = patterns.find(([key]) => matches(module, key));
    const alpha = pattern?.[1] ?? (fields.lora_alpha as number | undefined) ?? r;
    return fields.use_rslora ? alpha * Math.sqrt(r) : alpha; // rank-stabilised: α/√r in place of α/r
  };
}

function unsupported({
  peft_type: type = 'LORA',
  lora_alpha: alpha = 1,
  alpha_pattern: pattern,
  ...fields
}: Fields): string[] {
  const switches = ['use_dora', 'lora_bias', 'fan_in_fan_out'].filter((name) => fields[name]);
  const regular = Object.keys((pattern ?? {}) as Fields).filter((key) => !/^[\w.-]+$/.test(key));
  const alphas = [alpha, ...Object.values((pattern ?? {}) as Fields)].filter(
    (value) => typeof value !== 'number' || !Number.isFinite(value),
  );
  return [
    ...(type === 'LORA' ? [] : [`peft_type got '${String(type)}', expected 'LORA'`]),
    ...switches.map((name) => `${name} got true, expected false`),
    ...regular.map((key) => `alpha_pattern got the regular expression '${key}', expected names of modules`),
    ...alphas.map((value) => `alpha got ${JSON.stringify(value)}, expected a number`),
  ];
}
