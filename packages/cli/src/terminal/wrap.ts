/**
 * Breaks the lines of a text at spaces so that they fit in a terminal. Indented lines stay whole: they are commands to
 * copy.
 * @param columns the width of the terminal; undefined where there is none, which breaks nothing
 */
export const wrapped = (text: string, columns: number | undefined): string =>
  columns === undefined
    ? text
    : text
        .split('\n')
        .map((line) => (line.startsWith('  ') ? line : wrappedLine(line, columns)))
        .join('\n');

function wrappedLine(text: string, columns: number): string {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= columns) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.join('\n');
}

/** The width of stderr in characters, 80 where a terminal does not tell it; undefined where it is no terminal. */
export const terminalColumns = (): number | undefined =>
  process.stderr.isTTY ? process.stderr.columns || 80 : undefined;

/** Breaks the lines of a message so that they fit on stderr, if that is a terminal. */
export const fitted = (text: string): string => wrapped(text, terminalColumns());
