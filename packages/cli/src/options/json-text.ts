import { parse, printParseErrorCode, type ParseError } from 'jsonc-parser';

/**
 * Parses JSON that may have comments and trailing commas (JSONC).
 * @throws SyntaxError with the line and column of the first problem
 */
export function parseJsonText(text: string): unknown {
  try {
    return JSON.parse(text) as unknown; // ten times as fast as jsonc-parser
  } catch {
    const errors: ParseError[] = [];
    const value: unknown = parse(text, errors, { allowTrailingComma: true });
    const [first] = errors;
    if (!first) return value;
    const { line, column } = positionAt(text, first.offset);
    throw new SyntaxError(`line ${line}, column ${column}: ${words(printParseErrorCode(first.error))}`);
  }
}

/** Returns the line and column, counted from 1, of an offset. Lines end with LF, CRLF or CR. */
export function positionAt(text: string, offset: number): { line: number; column: number } {
  const lines = text.slice(0, offset).split(/\r\n|\r|\n/);
  return { line: lines.length, column: lines.at(-1)!.length + 1 };
}

/** Turns `CommaExpected` into `comma expected`. */
const words = (code: string): string => code.replace(/\B[A-Z]/g, (letter) => ` ${letter}`).toLowerCase();
