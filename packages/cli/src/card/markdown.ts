/** A text as code within a line: between more backticks than it has in a row. */
export function codeSpan(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim();
  const longest = Math.max(0, ...[...line.matchAll(/`+/g)].map(([run]) => run.length));
  const fence = '`'.repeat(longest + 1);
  const space = line === '' || /^`|`$/.test(line) ? ' ' : '';
  return `${fence}${space}${line}${space}${fence}`;
}

/** A text as code in a cell of a table, whose bars end the cell also within code. */
export const tableCell = (text: string): string => codeSpan(text).replaceAll('|', '\\|');

/** Lines of a program. */
export const codeBlock = (language: string, ...lines: readonly string[]): string =>
  ['```' + language, ...lines, '```'].join('\n');
