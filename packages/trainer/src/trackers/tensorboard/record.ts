import { maskedCrc32c } from './crc32c.js';

/** Frames a message as a TFRecord: its length, the length's checksum, the message, and the message's checksum. */
export function tfRecord(message: Uint8Array): Uint8Array {
  const record = new Uint8Array(8 + 4 + message.length + 4);
  const view = new DataView(record.buffer);
  view.setBigUint64(0, BigInt(message.length), true);
  view.setUint32(8, maskedCrc32c(record.subarray(0, 8)), true);
  record.set(message, 12);
  view.setUint32(12 + message.length, maskedCrc32c(message), true);
  return record;
}
