import { parsePattern, type PatternNode } from './pattern-parser.js';

/** A compiled pattern: whether a path matches. */
export type PathMatcher = (path: string) => boolean;

/**
 * Compiles a key of peft's `alpha_pattern` or `rank_pattern`, which stands for every path where Python's
 * `re.match(r"(.*\.)?(KEY)$", path)` finds a match. Keeps the set of positions that each part of the expression can
 * reach, in place of trying one after the other, so that no expression takes longer than the product of its length
 * and the square of the path's.
 * @throws if the key is no expression of Python, or uses what cannot be decided in this way (references to groups,
 *   conditions, atomic groups, possessive repeats, flags)
 */
export function compilePattern(key: string): PathMatcher {
  if (/^[\w.-]+$/.test(key)) return (path) => endsInName(path, key);
  const pattern = parsePattern(key);
  return (path) => {
    const starts = new Set([0]);
    for (let i = 0; i < path.length; i++) if (path[i] === '.') starts.add(i + 1);
    return reach(pattern, path, starts).has(path.length);
  };
}

/** Compiles an expression that has to match a whole path, as Python's `re.fullmatch`. @throws as `compilePattern` */
export function compileWholePattern(source: string): PathMatcher {
  const pattern = parsePattern(source);
  return (path) => reach(pattern, path, new Set([0])).has(path.length);
}

/** Matches names without operators but the dot, which stands for any character. */
function endsInName(path: string, name: string): boolean {
  const start = path.length - name.length;
  if (start < 0 || (start > 0 && path[start - 1] !== '.')) return false;
  for (let i = 0; i < name.length; i++) if (name[i] !== '.' && name[i] !== path[start + i]) return false;
  return true;
}

/** Returns the positions where a match of the node can end that begins at one of `starts`. */
function reach(node: PatternNode, text: string, starts: ReadonlySet<number>): ReadonlySet<number> {
  switch (node.type) {
    case 'character':
      return collect(starts, (at) => (at < text.length && node.matches(text[at]!) ? [at + 1] : []));
    case 'assertion':
      return collect(starts, (at) => (node.holds(text, at) ? [at] : []));
    case 'sequence':
      return node.items.reduce((positions, item) => reach(item, text, positions), starts);
    case 'choice':
      return new Set(node.items.flatMap((item) => [...reach(item, text, starts)]));
    case 'repeat':
      return reachRepeated(node, text, starts);
    case 'look':
      return collect(starts, (at) => (looks(node, text, at) === node.isNegative ? [] : [at]));
  }
}

function reachRepeated(
  { item, least, most }: Extract<PatternNode, { type: 'repeat' }>,
  text: string,
  starts: ReadonlySet<number>,
): ReadonlySet<number> {
  let positions = starts;
  for (let count = 0; count < least && positions.size > 0; count++) {
    const next = reach(item, text, positions);
    if (isSame(next, positions)) break; // every further repeat gives the same positions
    positions = next;
  }
  const reached = new Set(positions);
  for (let count = least; count < most; count++) {
    const before = reached.size;
    positions = reach(item, text, positions);
    for (const at of positions) reached.add(at);
    if (reached.size === before) break;
  }
  return reached;
}

/** Whether the node of a look-ahead matches from `at`, or that of a look-behind up to `at`. */
function looks({ item, isBehind }: Extract<PatternNode, { type: 'look' }>, text: string, at: number): boolean {
  if (!isBehind) return reach(item, text, new Set([at])).size > 0;
  return reach(item, text, new Set(Array.from({ length: at + 1 }, (_, i) => i))).has(at);
}

const isSame = (a: ReadonlySet<number>, b: ReadonlySet<number>): boolean =>
  a.size === b.size && [...a].every((at) => b.has(at));

const collect = (starts: ReadonlySet<number>, next: (at: number) => number[]): ReadonlySet<number> =>
  new Set([...starts].flatMap(next));
