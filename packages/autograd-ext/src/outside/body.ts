/**
 * Reads the body of a response as text.
 * @param limit the most bytes of it; an answer without end is cancelled there
 * @throws Error if it has more, or is not UTF-8
 */
export async function readBody(response: Response, limit: number): Promise<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let [text, size] = ['', 0];
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    size += chunk.length;
    // leaving the loop cancels the body
    if (size > limit) throw new Error(`the answer got more than ${limit} bytes, expected fewer`);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}
