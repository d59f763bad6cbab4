import { table } from '@alignprop/autograd-ext/outside';
/** A part of a regular expression of Python. */
export type PatternNode =
  | { readonly type: 'character'; matches(character: string): boolean }
  | { readonly type: 'assertion'; holds(text: string, at: number): boolean }
  | { readonly type: 'sequence' | 'choice'; readonly items: readonly PatternNode[] }
  | { readonly type: 'repeat'; readonly item: PatternNode; readonly least: number; readonly most: number }
  | { readonly type: 'look'; readonly item: PatternNode; readonly isBehind: boolean; readonly isNegative: boolean };

const MAX_LENGTH = 2000;
const MAX_DEPTH = 100;

/**
 * Parses a regular expression in Python's syntax.
 * @throws if it is none, is longer than 2000 characters or deeper than 100 groups, or uses references to groups,
 *   conditions, atomic groups, possessive repeats or flags
 */
export function parsePattern(source: string): PatternNode {
  if (source.length > MAX_LENGTH)
    throw new Error(`the expression got ${source.length} characters, expected at most ${MAX_LENGTH}.`);
  const reader = new PatternReader(source);
  const node = reader.choice(0);
  if (!reader.isAtEnd) throw reader.problem('a closing parenthesis without an opening one');
  return node;
}

const isWord = (character: string | undefined): boolean => character !== undefined && /\w/.test(character);
const isBoundary = (text: string, at: number): boolean => isWord(text[at - 1]) !== isWord(text[at]);

/** The classes of characters behind a backslash. */
const classes = table<RegExp>({ d: /\d/, D: /\D/, w: /\w/, W: /\W/, s: /\s/, S: /\S/ });

const assertions = table<(text: string, at: number) => boolean>({
  A: (_, at) => at === 0,
  Z: (text, at) => at === text.length,
  b: isBoundary,
  B: (text, at) => !isBoundary(text, at),
});

const controls = table<string>({ n: '\n', r: '\r', t: '\t', f: '\f', v: '\v', a: '\x07' });

class PatternReader {
  #at = 0;

  constructor(readonly source: string) {}

  get isAtEnd(): boolean {
    return this.#at >= this.source.length;
  }

  problem(what: string): Error {
    return new Error(`the expression has ${what} at character ${this.#at + 1}.`);
  }

  /** Reads alternatives up to the end or a closing parenthesis. */
  choice(depth: number): PatternNode {
    if (depth > MAX_DEPTH) throw this.problem(`more than ${MAX_DEPTH} nested groups`);
    const items = [this.#sequence(depth)];
    while (this.#take('|')) items.push(this.#sequence(depth));
    return items.length === 1 ? items[0]! : { type: 'choice', items };
  }

  #take(text: string): boolean {
    if (!this.source.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #takeMatch(pattern: RegExp): RegExpExecArray | undefined {
    const match = pattern.exec(this.source.slice(this.#at));
    if (match) this.#at += match[0].length;
    return match ?? undefined;
  }

  #next(): string {
    if (this.isAtEnd) throw this.problem('no end');
    return this.source[this.#at++]!;
  }

  #sequence(depth: number): PatternNode {
    const items: PatternNode[] = [];
    while (!this.isAtEnd && !/[|)]/.test(this.source[this.#at]!)) {
      const item = this.#item(depth);
      if (item) items.push(this.#repeated(item));
    }
    return { type: 'sequence', items };
  }

  /** Reads a character, class, assertion or group; undefined for a comment. */
  #item(depth: number): PatternNode | undefined {
    const character = this.#next();
    if (character === '(') return this.#group(depth);
    if (character === '[') return this.#set();
    if (character === '\\') return this.#escape();
    if (character === '.') return { type: 'character', matches: (c) => c !== '\n' };
    if (character === '^') return { type: 'assertion', holds: (_, at) => at === 0 };
    if (character === '$') return { type: 'assertion', holds: (text, at) => at === text.length };
    if (/[*+?]/.test(character)) throw this.problem('a repeat of nothing');
    return { type: 'character', matches: (c) => c === character };
  }

  #repeated(item: PatternNode): PatternNode {
    const found = this.#takeMatch(/^(?:[*+?]|\{(\d+)\}|\{(\d*),(\d*)\})/);
    if (!found) return item;
    const [operator, exact, from, to] = found;
    const least = Number(exact ?? from ?? (operator === '+' ? 1 : 0));
    const most = exact ? least : operator === '?' ? 1 : to ? Number(to) : Infinity;
    if (this.#take('+')) throw this.problem('a possessive repeat, which is not read here,');
    this.#take('?'); // a lazy repeat matches the same texts
    if (/^[*+?{]/.test(this.source.slice(this.#at)) && this.#takeMatch(/^(?:[*+?]|\{\d*,?\d*\})/))
      throw this.problem('a repeat of a repeat');
    if (most < least) throw this.problem('a repeat whose least count is above the most');
    return { type: 'repeat', item, least, most };
  }

  #group(depth: number): PatternNode | undefined {
    if (this.#takeMatch(/^\?#[^)]*\)/)) return undefined;
    const look = this.#takeMatch(/^\?(<?)([=!])/);
    if (!look && this.source.startsWith('?', this.#at) && !this.#takeMatch(/^\?(?::|P<[A-Za-z_]\w*>)/))
      throw this.problem('a group of a kind that is not read here (reference, condition, flags or atomic group)');
    const item = this.choice(depth + 1);
    if (!this.#take(')')) throw this.problem('an opening parenthesis without a closing one');
    return look ? { type: 'look', item, isBehind: look[1] === '<', isNegative: look[2] === '!' } : item;
  }

  #escape(): PatternNode {
    const character = this.#next();
    const holds = assertions[character];
    if (holds) return { type: 'assertion', holds };
    if (/[1-9]/.test(character)) throw this.problem('a reference to a group, which is not read here,');
    return { type: 'character', matches: this.#escaped(character) };
  }

  /** Returns whether a character is the one, or one of those, that an escape stands for. */
  #escaped(character: string): (c: string) => boolean {
    const set = classes[character];
    if (set) return (c) => set.test(c);
    const code = character === 'x' ? this.#takeMatch(/^[\da-fA-F]{2}/)?.[0] : undefined;
    const literal = code ? String.fromCharCode(parseInt(code, 16)) : (controls[character] ?? character);
    if (/[A-Za-z0-9]/.test(character) && literal === character)
      throw this.problem(`the escape \\${character}, which is not read here,`);
    return (c) => c === literal;
  }

  /** Reads a set of characters, `[a-z_]`. A closing bracket at its beginning is one of them. */
  #set(): PatternNode {
    const isNegated = this.#take('^');
    const members: ((c: string) => boolean)[] = [];
    do members.push(this.#member());
    while (!this.#take(']'));
    return { type: 'character', matches: (c) => members.some((matches) => matches(c)) !== isNegated };
  }

  #member(): (c: string) => boolean {
    const first = this.#next();
    if (first === '\\') {
      const escaped = this.#next();
      return this.#escaped(escaped);
    }
    const [, last] = this.#takeMatch(/^-([^\]\\])/) ?? [];
    if (last === undefined) return (c) => c === first;
    if (last < first) throw this.problem('a range whose end is before its start');
    return (c) => c >= first && c <= last;
  }
}
