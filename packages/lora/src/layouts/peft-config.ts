import { flatten, type Params } from '@alignprop/autograd-ext';
import type { LoraLayer } from '../lora-layer.js';
import { lastName, matches, moduleOf } from '../modules.js';
import type { AdaptedComponent, DoraWriting } from './lora-layout.js';

/** The fields of peft's `LoraConfig` that differ from adapter to adapter. */
export interface PeftConfig {
  readonly r: number;
  readonly lora_alpha: number;
  readonly target_modules: readonly string[];
  readonly use_dora: boolean;
  readonly rank_pattern: Readonly<Record<string, number>>;
  readonly alpha_pattern: Readonly<Record<string, number>>;
}

// The other fields that peft 0.21 writes, at their defaults. Readers pass every field of the file to peft's LoraConfig.
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
  use_qalora: false,
  use_rslora: false,
  velora_config: null,
};

/** peft stores m as `[out]` or, for convolutions, `[1, out, 1, 1]`. `use_dora` concerns all modules of a file. */
export const peftDora: DoraWriting = {
  axes: ['output'],
  perModule: false,
  shape: (length, rank) => (rank === 4 ? [1, length, 1, 1] : [length]),
};

/** Describes the adapters of a component: r and α of the first one, and patterns for the modules that differ. */
export function peftConfig({ params, adapters }: AdaptedComponent): PeftConfig {
  const entries = Object.entries(adapters);
  const [[, { r, alpha, dora }]] = entries as [[string, LoraLayer]];
  const pattern = (value: (adapter: LoraLayer) => number, common: number) =>
    Object.fromEntries(
      entries
        .map(([module, adapter]) => [patternOf(module, Object.keys(adapters)), value(adapter)] as const)
        .filter(([, v]) => v !== common),
    );
  return {
    r,
    lora_alpha: alpha,
    target_modules: targetModules(params, Object.keys(adapters)),
    use_dora: dora !== undefined,
    rank_pattern: pattern((adapter) => adapter.r, r),
    alpha_pattern: pattern((adapter) => adapter.alpha, alpha),
  };
}

/**
 * Returns a key of `rank_pattern` and `alpha_pattern` that matches this module alone: its path, or the path as an
 * anchored regular expression where the path also matches another module. peft matches `(.*\.)?(KEY)$`.
 */
function patternOf(module: string, modules: readonly string[]): string {
  const pattern = new RegExp(`^(?:.*\\.)?(?:${module})$`);
  const isUnambiguous = modules.every((other) => other === module || !pattern.test(other));
  return isUnambiguous ? module : `^${module.replaceAll('.', '\\.')}`;
}

/** Last names such as `to_q`, or the whole path where the last name also matches a module that is not adapted. */
function targetModules(params: Params, adaptedModules: readonly string[]): string[] {
  const adapted = new Set(adaptedModules);
  const others = Object.keys(flatten(params))
    .map(moduleOf)
    .filter((module) => !adapted.has(module));
  const isUnambiguous = (name: string) => !others.some((module) => matches(module, name));
  const target = (module: string) => (isUnambiguous(lastName(module)) ? lastName(module) : module);
  return [...new Set(adaptedModules.map(target))];
}

/**
 * Returns the fields of a configuration as peft writes them: all of them, in alphabetical order.
 * @param options.prefix put before every key, with a dot, as in the metadata of diffusers
 */
export function peftFields(
  config: PeftConfig,
  { prefix = '', inferenceMode = false }: { prefix?: string; inferenceMode?: boolean },
): Readonly<Record<string, unknown>> {
  const fields = { ...defaults, ...config, inference_mode: inferenceMode };
  const named = Object.entries(fields).map(([key, value]) => [prefix ? `${prefix}.${key}` : key, value] as const);
  return Object.fromEntries(named.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Encodes fields as peft does, indented by two spaces. */
export const encodeFields = (fields: Readonly<Record<string, unknown>>): string => JSON.stringify(fields, null, 2);
