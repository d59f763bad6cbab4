import { parseJson } from './json.js';

/** A string of JSON, or a number that Python's `json` writes and JSON lacks. */
const stringOrConstant = /"(?:[^"\\]|\\.)*"|-?Infinity|NaN/g;

/** Stands for NaN between the two passes: a text that no config has. */
const nanMark = '\u0000NaN';

/** A number beyond the largest is read as infinite. */
const replacements: ReadonlyMap<string, string> = new Map([
  ['Infinity', '1e999'],
  ['-Infinity', '-1e999'],
  ['NaN', JSON.stringify(nanMark)],
]);

/**
 * Parses JSON as Python's `json` does, with `NaN`, `Infinity` and `-Infinity` as numbers: configs of diffusers have
 * them. Strings that contain these words stay as they are. Objects have no prototype; see `parseJson`.
 * @throws SyntaxError if it is not JSON in other respects
 */
export function parsePythonJson(text: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    const standard = text.replace(stringOrConstant, (token) => replacements.get(token) ?? token);
    if (standard === text) throw error;
    return withNaN(parseJson(standard));
  }
}

/** Replaces the marks of NaN, in place. */
function withNaN(value: unknown): unknown {
  if (value === nanMark) return NaN;
  if (typeof value !== 'object' || value === null) return value;
  const children = value as Record<string, unknown>;
  for (const key of Object.keys(children)) children[key] = withNaN(children[key]);
  return value;
}
