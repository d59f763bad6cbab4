import { crc32 as reference } from 'node:zlib';
import * as fc from 'fast-check';
import { expect, it } from 'vitest';
import { computeCrc32, crc32 } from './crc32.js';

it.each([crc32, computeCrc32])("%o agrees with zlib's checksum, at once and in pieces", (sum) =>
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (bytes, cut) => {
      expect(sum(bytes)).toBe(reference(bytes));
      expect(sum(bytes.subarray(cut), sum(bytes.subarray(0, cut)))).toBe(reference(bytes));
    }),
  ),
);
