import { createScanner, getNodeValue, parseTree, printParseErrorCode, type Node, type ParseError } from 'jsonc-parser';
import { MAX_DEPTH, parseJson, tooDeep } from '@alignprop/autograd-ext/outside';

/** The longest text that may have comments: the tree of a text takes a hundred times its memory. */
const MAX_JSONC = 2 ** 21;
/** The kinds of jsonc-parser's tokens { [ } ] and how they change the level; the end of the text. */
const depthChanges: ReadonlyMap<number, number> = new Map([
  [1, 1],
  [3, 1],
  [2, -1],
  [4, -1],
]);
const END = 17;

/**
 * Parses JSON that may have comments and trailing commas (JSONC). Objects have no prototype; see `parseJson`.
 * @throws SyntaxError with the line and column of the first problem
 */
export function parseJsonText(text: string): unknown {
  try {
    return parseJson(text); // ten times as fast as jsonc-parser
  } catch (error) {
    if (text.length > MAX_JSONC) throw error;
    return getNodeValue(parseJsonTree(text)) as unknown;
  }
}

/**
 * Parses the same text to a tree, whose nodes know their places.
 * @throws SyntaxError with the line and column of the first problem, or if the text has more than 2 million characters
 *   or 200 levels
 */
export function parseJsonTree(text: string): Node {
  if (text.length > MAX_JSONC) throw new SyntaxError(`got ${text.length} characters, expected at most ${MAX_JSONC}`);
  checkDepth(text);
  const errors: ParseError[] = [];
  const root = parseTree(text, errors, { allowTrailingComma: true });
  const [first] = errors;
  if (!first) return root!;
  const { line, column } = positionAt(text, first.offset);
  throw new SyntaxError(`line ${line}, column ${column}: ${words(printParseErrorCode(first.error))}`);
}

function checkDepth(text: string): void {
  const scanner = createScanner(text, true);
  let depth = 0;
  for (let token: number = scanner.scan(); token !== END; token = scanner.scan()) {
    depth += depthChanges.get(token) ?? 0;
    if (depth > MAX_DEPTH) throw tooDeep();
  }
}

/** Returns the line and column, counted from 1, of an offset. Lines end with LF, CRLF or CR. */
export function positionAt(text: string, offset: number): { line: number; column: number } {
  const lines = text.slice(0, offset).split(/\r\n|\r|\n/);
  return { line: lines.length, column: lines.at(-1)!.length + 1 };
}

/** Turns `CommaExpected` into `comma expected`. */
const words = (code: string): string => code.replace(/\B[A-Z]/g, (letter) => ` ${letter}`).toLowerCase();
