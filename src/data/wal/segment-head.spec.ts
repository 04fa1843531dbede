import { describe, expect, it } from '@jest/globals';
import { expectThat } from '../../../test/support/expectations.js';
import { decodeSegmentHead, encodeSegmentHead, SEGMENT_HEAD_BYTES } from './segment-head.js';

const ID = '0f8fad5b-d9cb-469f-a165-70867728950e';

describe('the head of a segment', () => {
  it('has these bytes in format 2', () => {
    expect(encodeSegmentHead(ID, 2 ** 33 + 7).toString('hex')).toBe(
      `4d444257414c3032${Buffer.from(ID).toString('hex')}0700000002000000f4725eaf`,
    );
  });

  it('is read back', () => {
    expect(decodeSegmentHead(encodeSegmentHead(ID, 260))).toEqual({ logId: ID, previousLsn: 260, bytes: SEGMENT_HEAD_BYTES });
  });

  it('of format 1 is read, without what stood before it', () => {
    expect(decodeSegmentHead(Buffer.from(`MDBWAL01${ID}`))).toEqual({ logId: ID, previousLsn: undefined, bytes: 44 });
  });

  it('is no head with a byte changed or missing', () => {
    const head = encodeSegmentHead(ID, 260);
    for (let at = 0; at < head.length; at += 1) {
      const damaged = Buffer.from(head);
      damaged.writeUInt8(damaged.readUInt8(at) ^ 0x41, at);
      expectThat(decodeSegmentHead(damaged), `byte ${at}`).toBeUndefined();
      expectThat(decodeSegmentHead(head.subarray(0, at)), `${at} bytes`).toBeUndefined();
    }
  });
});
