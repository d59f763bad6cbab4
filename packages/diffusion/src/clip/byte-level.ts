// Byte-level encoding of GPT-2: every byte of UTF-8 is a printable character, so that BPE needs no unknown token.

const isPrintable = (byte: number): boolean =>
  (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);

// Printable bytes stand for themselves; the others, in order, are the characters from 256 on.
let next = 256;
const characters = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
/** The characters of all bytes in the order of CLIP's vocabulary: the printable ones first. */
export const byteCharacters: readonly string[] = [
  ...characters.filter((_, byte) => isPrintable(byte)),
  ...characters.filter((_, byte) => !isPrintable(byte)),
];
const bytes = new Map(characters.map((character, byte) => [character, byte]));

/** Returns the bytes of a text in UTF-8, each as one character. Unpaired surrogates become U+FFFD. */
export function toByteCharacters(text: string): string {
  return Array.from(new TextEncoder().encode(text), (byte) => characters[byte]).join('');
}

/** Returns the text of tokens whose characters are bytes. A token with other characters stands for its own text. */
export function fromByteCharacters(tokens: readonly string[]): string {
  const all = tokens.flatMap((token) => {
    const decoded = Array.from(token, (character) => bytes.get(character));
    return decoded.includes(undefined) ? [...new TextEncoder().encode(token)] : (decoded as number[]);
  });
  return new TextDecoder().decode(Uint8Array.from(all));
}
