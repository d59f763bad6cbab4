// Parsers for the values of single options. They throw commander's InvalidArgumentError, to which commander adds the
// option's name and the rejected value.
import { totalmem } from 'node:os';
import { InvalidArgumentError } from 'commander';
import { isSchedulerName, schedulerNames, type GuidanceInterval } from '@alignprop/diffusion';

/** Parses a finite number. */
export function parseNumber(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value)) return value;
  throw new InvalidArgumentError('Expected a number.');
}

/** Returns a parser for integers from `min` to `max`. */
export const integerParser =
  (min: number, max = Number.MAX_SAFE_INTEGER) =>
  (text: string): number => {
    const isFree = max === Number.MAX_SAFE_INTEGER;
    const value = parseNumber(text);
    if (Number.isInteger(value) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`Expected an integer of at least ${min}${isFree ? '' : `, at most ${max}`}.`);
  };

/** Parses an image height or width: a positive multiple of 8 up to 16384, in pixels. */
export function parsePixels(text: string): number {
  const value = integerParser(8, 2 ** 14)(text);
  if (value % 8 === 0) return value;
  throw new InvalidArgumentError(`Expected a multiple of 8, such as ${Math.round(value / 8) * 8}.`);
}

/** Parses two fractions with a comma between them. */
export function parseInterval(text: string): GuidanceInterval {
  const numbers = text.split(',').map(parseNumber);
  const [first, end] = numbers;
  if (numbers.length === 2 && first! >= 0 && first! <= end! && end! <= 1) return [first!, end!];
  throw new InvalidArgumentError('Expected two fractions, the smaller one first, such as 0.2,0.8.');
}

/** Parses the name of a scheduler, or `config`. */
export function parseScheduler(text: string): string {
  if (text === 'config' || isSchedulerName(text)) return text;
  throw new InvalidArgumentError(`Expected config, a class of diffusers, or one of ${schedulerNames.join(', ')}.`);
}

/** Parses an amount of memory, `8GB`, `500 MiB` or `50%` of this machine's, into bytes. */
export function parseMemory(text: string): number {
  const [, amount, unit = ''] = /^([\d.]+)\s*(%|[kKmMgGtT]?i?[bB]?)$/.exec(text.trim()) ?? [];
  const bytes = Number(amount) * (unit === '%' ? totalmem() / 100 : bytesOf(unit));
  if (!(bytes > 0)) throw new InvalidArgumentError('Expected a size such as 8GB, 500MB or 50%.');
  return bytes;
}

/** Bytes in a unit: powers of 1000 for `k`, `M`, `G` and `T`, of 1024 with an `i` after the letter. */
function bytesOf(unit: string): number {
  const base = unit.toLowerCase().includes('i') ? 1024 : 1000;
  const prefix = unit[0]?.toLowerCase().replace('b', ' ') ?? ' ';
  return base ** ' kmgt'.indexOf(prefix);
}

/** Collects the values of an option that may be given several times. */
export const collectValues = (value: string, previous: readonly string[] = []): readonly string[] => [
  ...previous,
  value,
];
