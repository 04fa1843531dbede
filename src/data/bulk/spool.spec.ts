import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from '@jest/globals';
import { SpooledBody, SpoolMemory } from './spool.js';

const MIB = 1_024 * 1_024;
const directory = mkdtempSync(path.join(tmpdir(), 'spool-'));
afterAll(() => rmSync(directory, { recursive: true }));

async function unpack(pieces: readonly Buffer[], encoding: string | undefined, bytesMax = MIB): Promise<string> {
  const file = path.join(directory, 'body');
  const memory = new SpoolMemory(MIB, MIB);
  const spooled = await SpooledBody.receive(Readable.from(pieces), encoding, file, bytesMax, false, memory);
  return readFileSync(await spooled.file(), 'latin1');
}

/** Frames of the zstd command, with checksums. */
const FRAME = Buffer.from('KLUv/QRYiQAAeyJpZCI6ImEiLCJ4IjoxfQoS2FHG', 'base64');
const FRAME_TEXT = '{"id":"a","x":1}\n';
const SKIPPABLE = Buffer.from([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);

/** Its last bytes are the checksum. */
function wrongChecksum(): Buffer {
  const frame = Buffer.from(FRAME);
  frame.writeUInt8(frame.readUInt8(frame.length - 1) ^ 1, frame.length - 1);
  return frame;
}

function blockHeader(bytes: number, kind: 0 | 1, isLast: boolean): Buffer {
  const header: Buffer = Buffer.alloc(3);
  header.writeUIntLE((isLast ? 1 : 0) | (kind << 1) | (bytes << 3), 0, 3);
  return header;
}

/** A frame of one stored block. */
function zstdFrame(head: readonly number[], text: string): Buffer {
  return Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, ...head]), blockHeader(text.length, 0, true), Buffer.from(text)]);
}

/** Blocks of 128 KiB of one byte, 4 bytes each. */
function zstdRuns(blocks: number): Buffer {
  const runs = Array.from({ length: blocks }, (_, index) => [blockHeader(131_072, 1, index === blocks - 1), Buffer.from('\n')]);
  return Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3]), ...runs.flat()]);
}

const windowOf = (log: number): Buffer => zstdFrame([0, (log - 10) << 3], 'text');
const sizeOf = (bytes: number): Buffer => zstdFrame([0x20, bytes], 'text');

describe('a packed body', () => {
  it.each([
    ['one frame', [FRAME], FRAME_TEXT],
    ['two frames', [FRAME, FRAME], FRAME_TEXT + FRAME_TEXT],
    ['frames around one to be skipped', [SKIPPABLE, FRAME, SKIPPABLE, FRAME, SKIPPABLE], FRAME_TEXT + FRAME_TEXT],
    ['many frames in one piece', [Buffer.concat(Array.from({ length: 5_000 }, () => FRAME))], FRAME_TEXT.repeat(5_000)],
    ['a byte at a time', [...Buffer.concat([FRAME, SKIPPABLE, FRAME])].map((byte) => Buffer.from([byte])), FRAME_TEXT + FRAME_TEXT],
    ['a window of 8 MiB', [windowOf(23)], 'text'],
    ['a length that is right', [sizeOf(4)], 'text'],
    ['runs', [zstdRuns(8)], '\n'.repeat(MIB)],
  ])('zstd is read: %s', async (_, pieces, text) => {
    expect((await unpack(pieces, 'zstd')) === text).toBe(true);
  });

  it.each([
    ['a wrong checksum', [wrongChecksum()], /checksum/],
    ['a wrong checksum in the second frame', [FRAME, wrongChecksum()], /checksum/],
    ['another length than declared', [sizeOf(5)], /length/],
    ['a window over 8 MiB', [zstdFrame([0, ((23 - 10) << 3) | 1], 'text')], /window of 9437184 bytes/],
    ['a window of 1 GiB', [windowOf(30)], /window of 1073741824 bytes/],
    ['a window of 1 GiB in the second frame', [FRAME, windowOf(30)], /window of 1073741824 bytes/],
    ['a single segment of 1 GiB', [zstdFrame([0xa0, 0, 0, 0, 0x40], 'text')], /window of 1073741824 bytes/],
    ['a dictionary', [zstdFrame([1, 7 << 3, 9], 'text')], /dictionary/],
    ['nothing', [], /ends too early/],
    ['the beginning of a frame', [FRAME.subarray(0, 3)], /ends too early|not zstd/],
    ['a frame cut short', [FRAME.subarray(0, -1)], /ends too early/],
    ['a second frame cut short', [FRAME, FRAME.subarray(0, 20)], /ends too early/],
    ['bytes after the end', [FRAME, Buffer.from('bytes after the end of it')], /not zstd/],
    ['few bytes after the end', [FRAME, Buffer.from('x')], /ends too early|not zstd/],
    ['what is not zstd', [gzipSync(FRAME_TEXT)], /not zstd/],
  ])('zstd is refused by name: %s', async (_, pieces, message) => {
    await expect(unpack(pieces, 'zstd')).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(message),
    });
  });

  it.each([
    ['cut short', [gzipSync(FRAME_TEXT).subarray(0, -1)]],
    ['bytes after the end', [gzipSync(FRAME_TEXT), Buffer.from('bytes')]],
    ['what is not gzip', [FRAME]],
  ])('gzip is refused: %s', async (_, pieces) => {
    await expect(unpack(pieces, 'gzip')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it.each(['zstd', 'gzip'])('is bounded while it is unpacked: %s', async (encoding) => {
    const bomb = encoding === 'zstd' ? zstdRuns(100_000) : gzipSync(Buffer.alloc(64 * MIB));
    let mostBytes = 0;
    const watch = setInterval(() => (mostBytes = Math.max(mostBytes, process.memoryUsage().arrayBuffers)), 1);
    const bytesBefore = process.memoryUsage().arrayBuffers;
    await expect(unpack([bomb], encoding)).rejects.toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
    clearInterval(watch);
    expect(mostBytes - bytesBefore).toBeLessThan(64 * MIB);
  });

  it('gives way to other work while it unpacks', async () => {
    let turns = 0;
    const count = (): void => {
      turns += 1;
      turning = setImmediate(count);
    };
    let turning = setImmediate(count);
    await unpack([zstdRuns(512)], 'zstd', 64 * MIB);
    clearImmediate(turning);
    expect(turns).toBeGreaterThan(50);
  });

  it.each(['GZIP', ' gzip ', 'x-gzip'])('the name of a coding has no case: %j', async (encoding) => {
    expect(await unpack([gzipSync(FRAME_TEXT)], encoding)).toBe(FRAME_TEXT);
  });
});
