import protobuf from 'protobufjs/minimal.js';

export type Writer = ReturnType<typeof protobuf.Writer.create>;
/** Writes the fields of a message. */
export type Fields = (writer: Writer) => void;

/** Encodes a message. */
export function encodeMessage(write: Fields): Uint8Array {
  const writer = protobuf.Writer.create();
  write(writer);
  return writer.finish();
}

/** Writes a message as a field of another. */
export function message(writer: Writer, id: number, write: Fields): void {
  writer.uint32(field(id, 2)).fork();
  write(writer);
  writer.ldelim();
}

/** The key of a field. Wire types: 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes. */
export const field = (id: number, type: number): number => (id << 3) | type;
