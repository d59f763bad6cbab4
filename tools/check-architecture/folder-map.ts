const row = /^\s*(packages\/[^\s:]+)(?::\s*(.*))?$/;

/**
 * Compares ARCHITECTURE.md's map of folders with the folders that hold sources. The map is every line of the page's
 * fenced blocks that looks like
 *
 *     packages/trainer/src/estimators: which steps are attached, and how probably
 *
 * @returns one message for each folder that is missing, extra, named twice or not described
 */
export function compareFolderMap(markdown: string, folders: readonly string[]): string[] {
  const rows = fencedLines(markdown)
    .map((line) => row.exec(line))
    .filter((match) => match !== null);
  const named = rows.map(([, folder]) => folder!);
  return [
    ...folders
      .filter((folder) => !named.includes(folder))
      .map((folder) => `${folder} exists but is not in the map of folders. Add the line '${folder}: what it holds'.`),
    ...named
      .filter((folder) => !folders.includes(folder))
      .map((folder) => `${folder} is in the map of folders but holds no sources. Remove its line.`),
    ...named
      .filter((folder, i) => named.indexOf(folder) !== i)
      .map((folder) => `${folder} is in the map of folders twice. Remove a line.`),
    ...rows
      .filter(([, , description]) => !description?.trim())
      .map(([, folder]) => `${folder!} has no description in the map of folders. Write one.`),
  ].map((problem) => `ARCHITECTURE.md: ${problem}`);
}

function fencedLines(markdown: string): string[] {
  return [...markdown.matchAll(/^```[^\n]*\n(.*?)^```$/gms)].flatMap(([, block]) => block!.split('\n'));
}
