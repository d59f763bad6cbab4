import { maskSecrets } from '@alignprop/autograd-ext/outside';
import { UsageError } from '../terminal/errors.js';
import { otherRewardNames } from './other-names.js';
import { isRewardFile, rewardFileName } from './reward-file.js';
import { isListedReward, rewardNames } from './reward-list.js';
import { meantName } from './suggestions.js';

/** A reward as a flag names it: `aesthetic:0.5:cap=7`. */
export interface Term {
  readonly kind: 'listed' | 'file' | 'http' | 'command';
  /** The listed name, the path, the address, or the command line. */
  readonly source: string;
  /** The name in tables and metrics. */
  readonly name: string;
  readonly weight: number;
  /** Scores above it count as it; Infinity without one. */
  readonly cap: number;
  /** Whether the scores are standardised by those of the run. */
  readonly isNormalised: boolean;
}

/** The kinds of terms, each with the beginning that its source has and the settings after it. */
const patterns: readonly (readonly [Term['kind'], RegExp])[] = [
  ['http', /^(https?:\/\/[^/]+(?:\/.*?)?)((?::(?:cap=[^:/]*|normali[sz]ed|weight=[^:/]*|[-+.\deE]+))*)$/],
  ['command', /^(exec:.*?)((?::(?:cap=[^:]*|normali[sz]ed|weight=[^:]*|[-+.\deE]+))*)$/],
  ['file', /^(.*?\.[cm]?[jt]s)((?::[^\\/]*)?)$/],
  ['listed', /^([^:]*)((?::.*)?)$/s],
];

/**
 * Parses `source[:weight][:cap=number][:normalised]`, where the source is a listed name, the path of a module, an
 * http(s) address, or `exec:` and a command.
 * @param flag the flag that gave the term, for messages
 * @throws UsageError if a setting is not one of these, or the name is unknown
 */
export function parseTerm(term: string, flag: string): Term {
  const [kind, source, settings] = splitTerm(term);
  if (kind === 'listed' && !isListedReward(source)) {
    const meant = meantName(source, rewardNames, otherRewardNames);
    throw new UsageError(
      `${flag}: got '${source}', expected a .js, .mjs or .ts file, an https:// address, 'exec:command', ` +
        `or one of ${rewardNames.join(', ')}.${meant ? ` Did you mean ${meant}?` : ''}`,
    );
  }
  const name = kind === 'file' ? rewardFileName(source) : maskSecrets(source);
  return {
    kind,
    source,
    name,
    weight: 1,
    cap: Infinity,
    isNormalised: false,
    ...parseSettings(source, settings, flag),
  };
}

/** The listed name, the path, the address or the command of a term. */
export const sourceOfTerm = (term: string): string => splitTerm(term)[1];

function splitTerm(term: string): [kind: Term['kind'], source: string, settings: string] {
  for (const [kind, pattern] of patterns) {
    const [, source, settings = ''] = pattern.exec(term) ?? [];
    if (source !== undefined && (kind !== 'file' || isRewardFile(source))) return [kind, source, settings];
  }
  return ['listed', term, ''];
}

function parseSettings(source: string, settings: string, flag: string): Partial<Term> {
  const parsed = settings
    .split(':')
    .slice(1)
    .map((setting): Partial<Term> => {
      if (/^normali[sz]ed$/.test(setting)) return { isNormalised: true };
      const [, key = 'weight', value = setting] = /^(cap|weight)=(.*)$/.exec(setting) ?? [];
      if (value.trim() !== '' && Number.isFinite(Number(value))) return { [key]: Number(value) };
      throw new UsageError(
        `${flag}: ${key} of '${source}' got '${value}', expected a number. ` +
          'A reward may be followed by :weight, :cap=number and :normalised.',
      );
    });
  const keys = parsed.flatMap((setting) => Object.keys(setting));
  const twice = keys.find((key, i) => keys.indexOf(key) !== i);
  if (twice) throw new UsageError(`${flag}: the ${twice} of '${source}' is given twice, expected it once.`);
  return Object.assign({}, ...parsed) as Partial<Term>;
}
