import { describe, expect, it } from '@jest/globals';
import { crc32c } from '@node-rs/crc32';
import fc from 'fast-check';
import { expectThat } from '../../../test/support/expectations.js';
import { decodeRecord, encodedBytes, encodeRecord, lastLsnOf, RECORD_HEAD_BYTES, RECORD_KINDS, type WalRecord } from './wal-record.js';

if (process.env['SEED']) fc.configureGlobal({ seed: Number(process.env['SEED']) });

const records: fc.Arbitrary<WalRecord> = fc.record({
  kind: fc.constantFrom(...RECORD_KINDS),
  firstLsn: fc.oneof(fc.integer({ min: 1, max: 100 }), fc.maxSafeInteger().map(Math.abs)),
  lsnCount: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
  meta: fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue({ noUnicodeString: false })).map((meta) => ({ ...meta })),
  data: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
});

const EXAMPLE: WalRecord = { kind: 'rows', firstLsn: 7, lsnCount: 2, meta: { tableId: 't' }, data: Buffer.from('{"id":"a"}\n{"id":"b"}') };

function encoded(record: WalRecord, groupStart = 0): Buffer {
  return Buffer.concat(encodeRecord(record, groupStart));
}

describe('WAL record', () => {
  it('comes back as it went in, wherever it stands', () => {
    fc.assert(
      fc.property(records, fc.uint8Array({ maxLength: 40 }), fc.nat(2 ** 32 - 1), (record, before, groupStart) => {
        const parts = encodeRecord(record, groupStart);
        const segment = Buffer.concat([before, ...parts, Buffer.from('what follows')]);
        expect(decodeRecord(segment, before.length)).toEqual({
          ok: true,
          record: { ...record, meta: JSON.parse(JSON.stringify(record.meta)) as unknown },
          groupStart,
          end: before.length + encodedBytes(parts),
        });
      }),
    );
  });

  it('keeps its format: a stored log must be read by every later version', () => {
    expect(encoded(EXAMPLE, 44).toString('hex')).toBe(
      '4d444257' + // magic
        '3a000000' + // 58 bytes of payload
        crc32cHex(encoded(EXAMPLE, 44).subarray(RECORD_HEAD_BYTES)) +
        '01' + // format
        '00' + // kind
        '0700000000000000' + // first LSN
        '02000000' + // LSNs
        '2c000000' + // group start
        '0f000000' + // bytes of meta
        Buffer.from('{"tableId":"t"}{"id":"a"}\n{"id":"b"}').toString('hex'),
    );
  });

  it('has the first LSN and those of its other rows', () => {
    expect(lastLsnOf(EXAMPLE)).toBe(8);
  });

  it('is cut when its bytes end early, at any byte', () => {
    const bytes = encoded(EXAMPLE);
    for (let length = 0; length < bytes.length; length += 1)
      expect(decodeRecord(bytes.subarray(0, length), 0)).toEqual({ ok: false, isCut: true });
  });

  it('is never accepted with a changed byte', () => {
    const bytes = encoded(EXAMPLE);
    for (let offset = 0; offset < bytes.length; offset += 1) {
      for (const bit of [1, 128]) {
        const damaged = Buffer.from(bytes);
        damaged.writeUInt8((bytes[offset] ?? 0) ^ bit, offset);
        expectThat(decodeRecord(damaged, 0).ok, `byte ${offset}, bit ${bit}`).toBe(false);
      }
    }
  });

  it('of another format is refused, and the message says which version to start', () => {
    const bytes = encoded(EXAMPLE);
    bytes.writeUInt8(2, RECORD_HEAD_BYTES);
    bytes.writeUInt32LE(crc32c(bytes.subarray(RECORD_HEAD_BYTES)), 8);
    expect(() => decodeRecord(bytes, 0)).toThrow(/format 2 was written by another version/);
  });
});

function crc32cHex(bytes: Buffer): string {
  const hex = Buffer.alloc(4);
  hex.writeUInt32LE(crc32c(bytes));
  return hex.toString('hex');
}
