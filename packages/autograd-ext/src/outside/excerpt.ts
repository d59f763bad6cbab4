/** The most characters of a text from outside that a message quotes. */
const MAX_QUOTED = 120;

/** Control characters, line separators, marks that change the direction of writing, and halves of surrogate pairs. */
const unprintable = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/gu;

/**
 * Returns a text from outside (a name in a file, the answer of a service) as a message may quote it: at most `limit`
 * characters, with `…` where it is longer, and `\u{1b}` for control characters, which could steer a terminal.
 */
export function excerpt(text: string, limit = MAX_QUOTED): string {
  const isLong = text.length > limit;
  return `${printable(isLong ? text.slice(0, limit).replace(/[\ud800-\udbff]$/, '') : text)}${isLong ? '…' : ''}`;
}

/** Returns a value from outside as JSON for a message; see `excerpt`. */
export function excerptJson(value: unknown, limit = MAX_QUOTED): string {
  const text = typeof value === 'string' ? value.slice(0, limit + 1) : value;
  return excerpt(toJson(text), limit);
}

/** Writes unprintable characters as escapes: `\u{1b}`. */
export const printable = (text: string): string =>
  text.replace(unprintable, (character) => `\\u{${character.codePointAt(0)!.toString(16)}}`);

function toJson(value: unknown): string {
  if (typeof value === 'number' && !Number.isFinite(value)) return `${value}`;
  try {
    return JSON.stringify(value) ?? `${value as undefined}`;
  } catch {
    return Object.prototype.toString.call(value); // it contains itself, or a bigint
  }
}

/**
 * Returns names from outside for a message: the first `most` of them, each with at most `limit` characters, and how
 * many there are besides.
 */
export function excerptList(names: Iterable<string>, most = 8, limit = 60, separator = ', '): string {
  const all = [...names];
  const shown = all.slice(0, most).map((name) => excerpt(name, limit));
  return [...shown, ...(all.length > most ? [`and ${all.length - most} more`] : [])].join(separator);
}
