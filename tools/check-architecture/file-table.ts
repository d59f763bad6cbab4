const row = /^\s*(packages\/[^\s:]+\.ts)(?::\s*(.*))?$/;

/**
 * Compares ARCHITECTURE.md's file table with the files that exist. The table is every line of the page's fenced blocks
 * that looks like
 *
 *     packages/lora/src/add-lora.ts: puts trainable matrices beside the frozen ones
 *
 * @returns one message for each file that is missing, extra, named twice or not described
 */
export function compareFileTable(markdown: string, files: readonly string[]): string[] {
  const rows = fencedLines(markdown)
    .map((line) => row.exec(line))
    .filter((match) => match !== null);
  const named = rows.map(([, file]) => file!);
  return [
    ...files
      .filter((file) => !named.includes(file))
      .map((file) => `${file} exists but is not in the file table. Add the line '${file}: what it is'.`),
    ...named
      .filter((file) => !files.includes(file))
      .map((file) => `${file} is in the file table but does not exist. Remove its line.`),
    ...named
      .filter((file, i) => named.indexOf(file) !== i)
      .map((file) => `${file} is in the file table twice. Remove a line.`),
    ...rows
      .filter(([, , description]) => !description?.trim())
      .map(([, file]) => `${file!} has no description in the file table. Write one.`),
  ].map((problem) => `ARCHITECTURE.md: ${problem}`);
}

function fencedLines(markdown: string): string[] {
  return [...markdown.matchAll(/^```[^\n]*\n(.*?)^```$/gms)].flatMap(([, block]) => block!.split('\n'));
}
