/** Searches for words, ignoring case. @returns one message for each line of `text` and word found in it */
export function findWords(file: string, text: string, words: readonly string[]): string[] {
  const wanted = words.map((word) => word.toLowerCase());
  return text
    .split('\n')
    .flatMap((line, i) =>
      wanted.filter((word) => line.toLowerCase().includes(word)).map((word) => `${file}:${i + 1}: mentions '${word}'.`),
    );
}
