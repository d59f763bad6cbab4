import { UsageError } from '../terminal/errors.js';
import { defaultServiceOptions, type ServiceOptions } from './reward-protocol.js';
import { isListedReward } from './reward-list.js';

/** Values by option by reward: `{ aesthetic: { head: './head.pth' } }`. */
type OptionsByReward = Readonly<Record<string, Readonly<Record<string, unknown>>>>;

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
  throw new UsageError(`--reward-option: got an option of '${stray}', expected one of ${expected}.`);
}

function optionsByReward(options: RewardOptions): OptionsByReward {
  if (typeof options === 'object' && !Array.isArray(options)) return { ...(options as OptionsByReward) };
  const byReward: Record<string, Record<string, unknown>> = {};
  for (const written of [options].flat() as readonly string[]) {
    const [, name, option, value] = /^([^.=]+)\.([^=]+)=(.*)$/s.exec(written) ?? [];
    if (name === undefined)
      throw new UsageError(
        `--reward-option: got '${written}', expected reward.option=value, such as aesthetic.head=./head.pth.`,
      );
    (byReward[name] ??= {})[option!] = value;
  }
  return byReward;
}

/**
 * Checks the options of services: `timeout` in seconds and `retries`.
 * @throws UsageError if another option is given, or a value is not a number in range
 */
export function serviceOptions(given: Readonly<Record<string, unknown>> = {}): ServiceOptions {
  const options = { ...defaultServiceOptions };
  for (const [name, value] of Object.entries(given)) {
    const number = Number(value);
    const isInRange = name === 'timeout' ? number > 0 : Number.isInteger(number) && number >= 0;
    if (name !== 'timeout' && name !== 'retries')
      throw new UsageError(`--reward-option: got '${serviceName}.${name}', expected service.timeout, service.retries.`);
    if (String(value).trim() === '' || !isInRange)
      throw new UsageError(
        `--reward-option: ${serviceName}.${name} got '${String(value)}', expected ` +
          `${name === 'timeout' ? 'seconds above 0' : 'an integer from 0'}.`,
      );
    options[name] = number;
  }
  return options;
}
