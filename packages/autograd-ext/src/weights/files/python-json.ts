/** Stands for NaN between the two passes: a text that no config has. */
const nanMark = '\u0000NaN';

/** A string of JSON, or a number that Python's `json` writes and JSON lacks. */
const stringOrConstant = /"(?:[^"\\]|\\.)*"|-?Infinity|NaN/g;

/**
 * Parses JSON as Python's `json` does, with `NaN`, `Infinity` and `-Infinity` as numbers: configs of diffusers have
 * them. Strings that contain these words stay as they are.
 * @throws SyntaxError if it is not JSON in other respects
 */
export function parsePythonJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    const standard = text.replace(stringOrConstant, (token) => replacements[token] ?? token);
    if (standard === text) throw error;
    return JSON.parse(standard, (_, value: unknown) => (value === nanMark ? NaN : value));
  }
}

/** A number beyond the largest is read as infinite. */
const replacements: Readonly<Record<string, string>> = {
  Infinity: '1e999',
  '-Infinity': '-1e999',
  NaN: JSON.stringify(nanMark),
};
