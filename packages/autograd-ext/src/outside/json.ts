import { MAX_DEPTH, tooDeep, withoutPrototypes } from './record.js';

/**
 * Parses JSON from outside this program, in place of `JSON.parse`, which ESLint refuses elsewhere. Objects have no
 * prototype: `constructor`, `toString` and `__proto__` are keys like any other.
 * @throws SyntaxError if it is not JSON, or lists and objects are nested in more than 200 levels
 */
export function parseJson(text: string): unknown {
  checkDepth(text);
  return withoutPrototypes(JSON.parse(text));
}

const [QUOTE, BACKSLASH] = [0x22, 0x5c];
const OPENING = [0x5b, 0x7b]; // [ {
const CLOSING = [0x5d, 0x7d]; // ] }

/**
 * Counts the levels of a text of JSON before it is parsed: `JSON.parse` takes gigabytes for millions of them.
 * @throws SyntaxError if there are more than 200
 */
function checkDepth(text: string): void {
  let depth = 0;
  let isInString = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (isInString && code === BACKSLASH) i++;
    else if (code === QUOTE) isInString = !isInString;
    else if (!isInString && CLOSING.includes(code)) depth--;
    else if (!isInString && OPENING.includes(code) && ++depth > MAX_DEPTH) throw tooDeep();
  }
}
