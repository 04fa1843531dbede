import { beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { RoaringBitmap32, roaringLibraryInitialize } from 'roaring-wasm';
import { expectThat } from '../../test/support/expectations.js';
import type { DeletionVectorDescriptor } from './action.js';
import { encodeBase85 } from './base85.js';
import { decodePositions, encodePositions, readVector, VectorFile, vectorKey, vectorObjectName } from './deletion-vector.js';

if (process.env['SEED']) fc.configureGlobal({ seed: Number(process.env['SEED']) });

const dataCorruption = expect.objectContaining({ code: 'DATA_CORRUPTION' });
const DELTA_MAGIC = 1_681_511_377;

beforeAll(() => roaringLibraryInitialize());

/** A reference bitmap around which a vector is built as Delta wants it. */
function referenceVector(bitmap: RoaringBitmap32): Buffer {
  const head = Buffer.alloc(16);
  head.writeUInt32LE(DELTA_MAGIC, 0);
  head.writeBigUInt64LE(1n, 4);
  return Buffer.concat([head, bitmap.serialize('portable')]);
}

function referenceOf(positions: readonly number[], optimizesRuns: boolean): Buffer {
  const bitmap = new RoaringBitmap32(positions);
  try {
    if (optimizesRuns) bitmap.runOptimize();
    return referenceVector(bitmap);
  } finally {
    bitmap.dispose();
  }
}

function range(from: number, count: number, step = 1): number[] {
  return Array.from({ length: count }, (_value, index) => from + index * step);
}

/** Sets in which every kind of container turns up: a few values, thousands, whole containers, runs, several containers with gaps between them. */
const positionSets = fc
  .array(
    fc.record({
      high: fc.oneof(fc.integer({ min: 0, max: 5 }), fc.integer({ min: 0, max: 65_535 })),
      low: fc.integer({ min: 0, max: 65_535 }),
      count: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(4_095, 4_096, 4_097, 9_000, 65_536)),
      step: fc.constantFrom(1, 2, 3, 7),
    }),
    { minLength: 1, maxLength: 7 },
  )
  .map((pieces) => {
    const all = pieces
      .flatMap(({ high, low, count, step }) => range(high * 65_536 + low, count, step))
      .filter((position) => position < 2 ** 32);
    return [...new Set(all)].sort((a, b) => a - b);
  })
  .filter((positions) => positions.length > 0);

const CASES: readonly (readonly [string, readonly number[]])[] = [
  ['one row', [0]],
  ['the last position there is', [2 ** 32 - 1]],
  ['an array at its limit', range(0, 4_096, 3)],
  ['a bitmap just above it', range(0, 4_097, 3)],
  ['a full container', range(65_536, 65_536)],
  ['both sides of a container boundary', [65_535, 65_536]],
  ['five containers', range(7, 5, 65_536)],
  ['a run over three containers', range(60_000, 140_000)],
];

describe('deletion vector', () => {
  it.each(CASES)('is byte for byte what CRoaring writes for %s', (_name, positions) => {
    expect(encodePositions(positions).equals(referenceOf(positions, false))).toBe(true);
  });

  it.each(CASES)('reads %s as CRoaring writes it with runs', (_name, positions) => {
    expect(decodePositions(referenceOf(positions, true))).toEqual(positions);
  });

  it('is byte for byte what CRoaring writes for any set of rows', () => {
    fc.assert(
      fc.property(positionSets, (positions) => {
        expect(encodePositions(positions).equals(referenceOf(positions, false))).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  it('reads back any set of rows, written by itself or by CRoaring with runs', () => {
    fc.assert(
      fc.property(positionSets, (positions) => {
        expect(sameNumbers(decodePositions(encodePositions(positions)), positions)).toBe(true);
        expect(sameNumbers(decodePositions(referenceOf(positions, true)), positions)).toBe(true);
      }),
      { numRuns: 40 },
    );
  });

  it('writes and reads no rows', () => {
    const empty = encodePositions([]);
    expect(empty.toString('hex')).toBe('d1d339640000000000000000');
    expect(decodePositions(empty)).toEqual([]);
  });
});

/** `toEqual` on a hundred thousand numbers is slow. */
function sameNumbers(left: readonly number[], right: readonly number[]): boolean {
  return left.length === right.length && left.every((value, index) => value === right[index]);
}

function inline(positions: readonly number[]): DeletionVectorDescriptor {
  const bytes = encodePositions(positions);
  return { storageType: 'i', pathOrInlineDv: encodeBase85(bytes), sizeInBytes: bytes.length, cardinality: positions.length };
}

function stored(positions: readonly number[]): { descriptor: DeletionVectorDescriptor; object: VectorFile['object'] } {
  const file = new VectorFile();
  const descriptor = file.add(positions);
  if (!descriptor) throw new Error('no positions');
  return { descriptor, object: file.object };
}

describe('deletion vector in the log', () => {
  const few = [3, 70_000, 2 ** 31];
  const many = range(0, 2_000, 5);

  it('is read where an older server put it into the descriptor', () => {
    expect(vectorObjectName(inline(few))).toBeUndefined();
    expect(readVector(inline(few), undefined)).toEqual(few);
  });

  it('shares a file with the others of its commit, small ones too', () => {
    const file = new VectorFile();
    const vectors = [few, many, [0]].map((positions) => ({ positions, descriptor: file.add(positions) as DeletionVectorDescriptor }));
    expect(file.add([])).toBeUndefined();
    expect(new Set(vectors.map(({ descriptor }) => vectorObjectName(descriptor)))).toEqual(new Set([file.object?.name]));
    for (const { positions, descriptor } of vectors) {
      expect(descriptor).toMatchObject({ storageType: 'u', cardinality: positions.length });
      expect(readVector(descriptor, file.object?.bytes)).toEqual(positions);
    }
  });

  it('needs no file where no row is hidden', () => {
    const file = new VectorFile();
    file.add([]);
    expect(file.object).toBeUndefined();
  });

  it('names its file by the uuid that the descriptor carries', () => {
    const { descriptor, object } = stored(many);
    expect(object?.name).toMatch(/^deletion_vector_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.bin$/);
    expect(vectorObjectName(descriptor)).toBe(object?.name);
    expect(descriptor.pathOrInlineDv).toHaveLength(20);
    expect(readVector(descriptor, object?.bytes)).toEqual(many);
  });

  it('has the file form of the Delta protocol: version, big-endian size, vector, big-endian CRC-32', () => {
    const { descriptor, object } = stored(many);
    const bytes = object?.bytes ?? Buffer.alloc(0);
    expect(bytes.readUInt8(0)).toBe(1);
    expect(descriptor.offset).toBe(1);
    expect(bytes.readUInt32BE(1)).toBe(descriptor.sizeInBytes);
    expect(bytes.subarray(5, -4)).toEqual(encodePositions(many));
  });

  it('has a key that tells its states apart', () => {
    const vectors = [undefined, inline([1]), inline([2]), stored(many).descriptor, stored(many).descriptor];
    expect(new Set(vectors.map(vectorKey)).size).toBe(vectors.length);
    expect(vectorKey(inline([1]))).toBe(vectorKey(inline([1])));
  });
});

describe('damaged deletion vector', () => {
  const cutCases: readonly (readonly [string, () => Buffer])[] = [
    ['an array', () => encodePositions([3, 70_000, 2 ** 31])],
    ['a bitmap', () => encodePositions(range(0, 5_000, 3))],
    ['runs', () => referenceOf([...range(0, 100), ...range(1_000, 100), ...range(70_000, 5_000)], true)],
  ];

  /** Every length that such a vector can be cut to; of long ones some. */
  function cuts(bytes: Buffer): Buffer[] {
    return range(0, bytes.length)
      .filter((length) => length < 64 || length % 97 === 0)
      .map((length) => bytes.subarray(0, length));
  }

  it.each(cutCases)('is never read as fewer rows in silence, wherever %s is cut', (_name, vector) => {
    for (const cut of cuts(vector())) expectThat(() => decodePositions(cut), `cut to ${cut.length} bytes`).toThrow();
  });

  it.each(cutCases)('is DATA_CORRUPTION wherever %s is cut', (_name, vector) => {
    for (const cut of cuts(vector())) expectThat(() => decodePositions(cut), `cut to ${cut.length} bytes`).toThrow(dataCorruption);
  });

  it('is DATA_CORRUPTION with another magic number, cookie, or a position of 2^32 and more', () => {
    for (const offset of [0, 12, 16]) {
      const bytes = encodePositions([1, 2, 3]);
      bytes.writeUInt8((bytes[offset] ?? 0) ^ 0x40, offset);
      expectThat(() => decodePositions(bytes), `byte ${offset} changed`).toThrow(dataCorruption);
    }
  });

  it('is refused when a run goes on past its container', () => {
    const bytes = referenceOf(range(65_000, 500), true);
    bytes.writeUInt16LE(60_000, bytes.length - 2);
    expect(() => decodePositions(bytes)).toThrow(dataCorruption);
  });

  it('is refused when its file is missing, short, of another size, or changed in any byte', () => {
    const { descriptor, object } = stored(range(0, 600, 5));
    const bytes = object?.bytes ?? Buffer.alloc(0);
    expect(() => readVector(descriptor, undefined)).toThrow(dataCorruption);
    expect(() => readVector(descriptor, bytes.subarray(0, -1))).toThrow(dataCorruption);
    expect(() => readVector({ ...descriptor, sizeInBytes: descriptor.sizeInBytes - 1 }, bytes)).toThrow(dataCorruption);
    for (let offset = 1; offset < bytes.length; offset += 1) {
      const damaged = Buffer.from(bytes);
      damaged.writeUInt8((bytes[offset] ?? 0) ^ 0x10, offset);
      expectThat(() => readVector(descriptor, damaged), `byte ${offset} changed`).toThrow(dataCorruption);
    }
  });

  it('is refused when the descriptor gives a size that its text cannot have', () => {
    const { descriptor } = { descriptor: inline([1, 2, 3]) };
    const wrong: DeletionVectorDescriptor = { ...descriptor, sizeInBytes: descriptor.sizeInBytes - 2 };
    expect(() => readVector(wrong, undefined)).toThrow(dataCorruption);
  });
});
