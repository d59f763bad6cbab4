import { excerpt, excerptJson, table } from '@alignprop/autograd-ext/outside';
import type { Fields } from './adapter-settings.js';

const convert =
  "save it with peft's save_pretrained(path_initial_model_for_weight_conversion=…), which makes it plain LoRA";

/**
 * The initializations of peft that change the weights of the model and cannot be repeated here, with the reason; of
 * the others, `initialChange` repeats those that change the weights.
 */
const refusedInitializations: readonly (readonly [RegExp, string])[] = [
  [/^pissa_niter_/, `the fast decomposition of PiSSA depends on random numbers; ${convert}`],
  [/^corda$/, `CorDA depends on the data it was initialised with; ${convert}`],
  [/^lora_ga$/, `LoRA-GA depends on the gradients it was initialised with; ${convert}`],
  [/^loftq$/, 'LoftQ belongs to a quantised model; apply it with peft'],
];

const knownInitializations = ['gaussian', 'eva', 'orthogonal', 'mica', 'olora', 'pissa'];

const knownTypes = ['LORA', 'LOHA', 'LOKR', 'IA3'];

/** Fields that make an adapter more than what its keys say; each must be empty: null, false, none, [] or {}. */
const refusedFields = table<string>({
  modules_to_save: 'whole modules trained beside the adapter',
  layer_replication: 'layers of the model used several times',
  trainable_token_indices: 'trained tokens',
  target_parameters: 'adapted parameters that are no modules',
  use_qalora: 'adapters of a quantised model',
  use_bdlora: 'block-diagonal matrices',
  alora_invocation_tokens: 'an adapter that begins at a token',
  arrow_config: 'a choice between several adapters',
  kasa_config: 'a changed model (KaSA)',
  monteclora_config: 'random matrices (MonteCLoRA)',
  megatron_config: 'parallel layers of Megatron',
});

/** Fields that do not change what an adapter computes once it is trained, or that its keys and shapes repeat. */
const harmlessFields =
  /^(?:use_rslora|use_dora|use_effective_conv2d|eva_config|corda_config|lora_ga_config|loftq_config|velora_config)$/;

/** Lists what a configuration of peft asks for and is not applied. */
export function peftProblems(fields: Fields): string[] {
  const { peft_type: type = 'LORA', bias = 'none' } = fields;
  const extra = Object.keys(fields).filter((name) => !isEmpty(fields[name]));
  return [
    ...(knownTypes.includes(type as string) ? [] : [`peft_type got ${quote(type)}, expected ${knownTypes.join(', ')}`]),
    ...initializationProblems(fields.init_lora_weights),
    ...(bias === 'none' ? [] : [`bias got ${quote(bias)}, expected 'none' (biases trained beside the adapter)`]),
    ...extra
      .filter((name) => Object.hasOwn(refusedFields, name))
      .map((name) => `${name} got ${quote(fields[name])}, expected nothing (${refusedFields[name]})`),
    ...extra
      .filter(
        (name) => /^use_|_config$/.test(name) && !Object.hasOwn(refusedFields, name) && !harmlessFields.test(name),
      )
      .map((name) => `${excerpt(name)} got ${quote(fields[name])}, which is not known here, expected nothing`),
    ...numberProblems(fields),
  ];
}

function initializationProblems(value: unknown): string[] {
  if (typeof value !== 'string') return [];
  const name = value.toLowerCase();
  const [, reason] = refusedInitializations.find(([pattern]) => pattern.test(name)) ?? [];
  if (reason) return [`init_lora_weights got '${excerpt(value)}': ${reason}`];
  return knownInitializations.includes(name)
    ? []
    : [
        `init_lora_weights got '${excerpt(value)}', ` +
          `expected true, false or one of ${knownInitializations.join(', ')}`,
      ];
}

function numberProblems(fields: Fields): string[] {
  const values = ['lora_alpha', 'alpha', 'r']
    .filter((name) => fields[name] !== undefined && fields[name] !== null)
    .map((name) => [name, fields[name]] as const);
  const patterns = ['alpha_pattern', 'rank_pattern'].flatMap((field) =>
    Object.entries((fields[field] ?? {}) as Fields).map(([key, value]) => [`${field} '${key}'`, value] as const),
  );
  return [...values, ...patterns]
    .filter(([, value]) => typeof value !== 'number' || !Number.isFinite(value))
    .map(([name, value]) => `${excerpt(name)} got ${excerptJson(value)}, expected a number`);
}

const isEmpty = (value: unknown): boolean =>
  value === undefined ||
  value === null ||
  value === false ||
  (typeof value === 'object' && Object.keys(value).length === 0);

const quote = (value: unknown): string => (typeof value === 'string' ? `'${excerpt(value)}'` : excerptJson(value));
