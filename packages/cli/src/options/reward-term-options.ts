import { excerpt, excerptJson, record } from '@alignprop/autograd-ext/outside';
import { UsageError } from '../terminal/errors.js';
import { defaultServiceOptions, type ServiceOptions } from './reward-protocol.js';
import { isListedReward } from './reward-list.js';

/** Values by option by reward: `{ aesthetic: { head: './head.pth' } }`. */
export type OptionsByReward = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

/** Values of `--reward-option`, such as `aesthetic.head=./head.pth`, or the nested form of configuration files. */
export type RewardOptions = string | readonly string[] | OptionsByReward;

/** The name that options of all services and commands have: `service.timeout=120`. */
export const serviceName = 'service';

/**
 * Parses the options of rewards.
 * @param names the names or addresses of the rewards that options may belong to
 * @throws UsageError if an option has another form, or belongs to none of them
 */
export function parseRewardOptions(options: RewardOptions, names: readonly string[]): OptionsByReward {
  const byReward = optionsByReward(options);
  const isService = (name: string) => /^(https?:\/\/|exec:)/.test(name);
  const listed = names.flatMap((name) => (isListedReward(name) ? [name] : isService(name) ? [serviceName] : []));
  const stray = Object.keys(byReward).find((name) => !listed.includes(name));
  if (stray === undefined) return byReward;
  const expected = [...new Set(listed)].join(', ') || 'a listed reward';
  throw new UsageError(`--reward-option: got an option of '${excerpt(stray)}', expected one of ${expected}.`);
}

/** Returns the options by reward. @throws UsageError if one is no `reward.option=value` */
export function optionsByReward(options: RewardOptions): OptionsByReward {
  if (typeof options === 'object' && !Array.isArray(options)) return options as OptionsByReward;
  const byReward = record<Record<string, unknown>>();
  for (const written of [options].flat() as readonly string[]) {
    const [, name, option, value] = /^([^.=]+)\.([^=]+)=(.*)$/s.exec(written) ?? [];
    if (name === undefined)
      throw new UsageError(
        `--reward-option: got ${excerptJson(written)}, expected reward.option=value: aesthetic.head=./head.pth.`,
      );
    (byReward[name] ??= record())[option!] = value;
  }
  return byReward;
}

/** A day: no answer takes longer, and timers cannot wait for longer than 24. */
const MAX_SECONDS = 86_400;
/** More than an hour of attempts: each waits for at most half a minute. */
const MAX_RETRIES = 200;

/**
 * Checks the options of services: `timeout` in seconds and `retries`.
 * @throws UsageError if another option is given, or a value is not a number in range
 */
export function serviceOptions(given: Readonly<Record<string, unknown>> = {}): ServiceOptions {
  const options = { ...defaultServiceOptions };
  for (const [name, value] of Object.entries(given)) {
    const text = typeof value === 'string' ? value : excerptJson(value);
    const number = text.trim() === '' ? NaN : Number(text);
    const isInRange =
      name === 'timeout'
        ? number > 0 && number <= MAX_SECONDS
        : Number.isInteger(number) && number >= 0 && number <= MAX_RETRIES;
    if (name !== 'timeout' && name !== 'retries')
      throw new UsageError(
        `--reward-option: got '${serviceName}.${excerpt(name)}', expected service.timeout, service.retries.`,
      );
    if (!isInRange)
      throw new UsageError(
        `--reward-option: ${serviceName}.${name} got '${excerpt(text)}', expected ` +
          `${name === 'timeout' ? `seconds above 0, at most ${MAX_SECONDS}` : `an integer from 0 to ${MAX_RETRIES}`}.`,
      );
    options[name] = number;
  }
  return options;
}
