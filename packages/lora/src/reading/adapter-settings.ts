import { excerpt } from '@alignprop/autograd-ext/outside';
import type { ModuleSettings } from '../kinds/adapter-kind.js';
import { initialChange } from '../kinds/initial-change.js';
import { compilePattern, compileWholePattern, type PathMatcher } from './python-pattern.js';
import { peftProblems } from './peft-problems.js';

/** The fields of an adapter_config.json, or of diffusers' header. */
export type Fields = Readonly<Record<string, unknown>>;

/** Returns the settings of a module that the file of an adapter names so. */
export type SettingsOf = (module: string, alpha: number | undefined) => ModuleSettings;

/**
 * Reads the configuration of an adapter.
 * α of a module is its own tensor, else that of the first pattern of `alpha_pattern` that matches, else `lora_alpha`
 * (or `alpha`), else the rank, as in peft and diffusers; with `use_rslora`, √r times as much (Kalajdzievski 2023).
 * @param fields empty without a configuration
 * @throws if the configuration asks for something that is not applied
 */
export function readSettings(fields: Fields): SettingsOf {
  const problems = peftProblems(fields);
  const alphas = readPatterns(fields, 'alpha_pattern', problems);
  const ranks = readPatterns(fields, 'rank_pattern', problems);
  if (problems.length) throw new Error(`${problems.join('; ')}. Merge the adapter with peft instead.`);
  const hasConfig = Object.keys(fields).length > 0;
  const commonAlpha = (fields.lora_alpha ?? fields.alpha ?? (hasConfig ? DEFAULT : undefined)) as number | undefined;
  const commonRank = (fields.r ?? (hasConfig ? DEFAULT : undefined)) as number | undefined;
  const useDora = fields.use_dora === true;
  const isFeedforward = feedforward(fields);
  return (module, alpha) => ({
    alphaOf: (r) => {
      if (alpha !== undefined) return alpha;
      const configured = valueOf(alphas, module) ?? commonAlpha;
      return fields.use_rslora === true ? (configured ?? r) * Math.sqrt(r) : (configured ?? r);
    },
    rank: valueOf(ranks, module) ?? commonRank,
    isFeedforward: isFeedforward?.(module),
    useDora,
    baseChange: (r, scale) => initialChange(fields.init_lora_weights, { r, scale }),
  });
}

/** peft's default of α and of r. */
const DEFAULT = 8;

interface Pattern {
  readonly matches: PathMatcher;
  readonly value: number;
}

/** Returns the value of the first pattern, in the order of the file, that matches a module. */
const valueOf = (patterns: readonly Pattern[], module: string): number | undefined =>
  patterns.find(({ matches }) => matches(module))?.value;

function readPatterns(fields: Fields, field: string, problems: string[]): Pattern[] {
  return Object.entries((fields[field] ?? {}) as Record<string, number>).flatMap(([key, value]) => {
    try {
      return [{ matches: compilePattern(key), value }];
    } catch (error) {
      problems.push(
        `${field} got '${excerpt(key)}', expected a regular expression: ${excerpt((error as Error).message)}`,
      );
      return [];
    }
  });
}

/** Returns whether peft's (IA)³ takes a module for a feedforward layer: by a whole match, or by the end of its path. */
function feedforward({ peft_type: type, feedforward_modules: names }: Fields): PathMatcher | undefined {
  if (type !== 'IA3') return undefined;
  if (typeof names === 'string') return compileWholePattern(names);
  const ends = (names ?? []) as readonly string[];
  return (module) => ends.some((name) => module.endsWith(name));
}
