import { describe, expect, it } from '@jest/globals';
import * as arrow from 'apache-arrow';
import { Table, writeParquet } from 'parquet-wasm';
import { expectThat } from '../../../test/support/expectations.js';
import { SeededRandom, seedOfThisRun } from '../../../test/support/seeded-random.js';
import { isValid, joinedStreams, plainFields, plainStream, plainType, textReader, textsOf } from './plain-stream.js';

const { DateDay, Dictionary, Float32, Float64, Int8, Int16, Int32, Int64, LargeUtf8, TimestampMicrosecond, TimestampMillisecond, Utf8 } =
  arrow;
const { Uint8, Uint16, Uint32, Uint64, Bool, vectorFromArray } = arrow;

function streamOf(columns: Readonly<Record<string, arrow.Vector>>): Buffer {
  return Buffer.from(arrow.tableToIPC(new arrow.Table(columns), 'stream'));
}

const TEXTS = ['', 'a', 'sensor:1', 'é', '日本語', '𝄞𝄞', 'x'.repeat(300)];
const INSTANT_MAX = 253_402_300_799_999_999n;

/** A column of each plain type, some of its values missing. */
function columnsOf(random: SeededRandom, rows: number): Record<string, arrow.Vector> {
  const list = <T>(value: () => T): (T | null)[] => Array.from({ length: rows }, () => (random.chance(0.2) ? null : value()));
  const integer = (bits: number, isSigned: boolean): (() => number) => {
    const first = isSigned ? -(2 ** (bits - 1)) : 0;
    return () => random.pick([0, 1, first, first + 2 ** bits - 1]);
  };
  const double = (): number => random.pick([0, -0, 1.5, -1e308, 5e-324, 20.1]);
  return {
    id: vectorFromArray(
      Array.from({ length: rows }, (_, row) => `id-${row}`),
      new Utf8(),
    ),
    i8: vectorFromArray(list(integer(8, true)), new Int8()),
    i16: vectorFromArray(list(integer(16, true)), new Int16()),
    i32: vectorFromArray(list(integer(32, true)), new Int32()),
    i64: vectorFromArray(
      list(() => random.pick([0n, -1n, 2n ** 63n - 1n, -(2n ** 63n)])),
      new Int64(),
    ),
    u8: vectorFromArray(list(integer(8, false)), new Uint8()),
    u16: vectorFromArray(list(integer(16, false)), new Uint16()),
    u32: vectorFromArray(list(integer(32, false)), new Uint32()),
    f32: vectorFromArray(
      list(() => Math.fround(random.pick([0, 1.5, -2.25]))),
      new Float32(),
    ),
    f64: vectorFromArray(list(double), new Float64()),
    b: vectorFromArray(
      list(() => random.chance(0.5)),
      new Bool(),
    ),
    s: vectorFromArray(
      list(() => random.pick(TEXTS)),
      new Utf8(),
    ),
    large: vectorFromArray(
      list(() => random.pick(TEXTS)),
      new LargeUtf8(),
    ),
    day: vectorFromArray(
      list(() => new Date(random.pick([0, -62_135_596_800_000, 253_402_214_400_000]))),
      new DateDay(),
    ),
    ms: vectorFromArray(
      list(() => random.pick([0, -62_135_596_800_000, 253_402_300_799_999])),
      new TimestampMillisecond('UTC'),
    ),
    us: vectorFromArray(
      list(() => random.integer(0, 1_000_000)),
      new TimestampMicrosecond(),
    ),
  };
}

function parquetRows(stream: Uint8Array): number {
  const table = Table.fromIPCStream(stream);
  const rows = table.recordBatches().reduce((sum, batch) => sum + batch.numRows, 0);
  writeParquet(table).slice();
  return rows;
}

function oneColumn(vector: arrow.Vector): Buffer {
  return streamOf({ v: vector });
}

function withInstant(instant: bigint): Buffer {
  const data = arrow.makeData({ type: new TimestampMicrosecond('UTC'), data: BigInt64Array.of(instant), length: 1 });
  return oneColumn(arrow.makeVector(data));
}

describe('a plain stream', () => {
  it('may have each type that a batch holds as it is', () => {
    const stream = plainStream(streamOf(columnsOf(new SeededRandom(1), 50)));
    expect(stream?.batches.map(({ rows }) => rows)).toEqual([50]);
    expect(stream?.batches[0]?.columns[0]?.nulls).toBe(0);
    expect(stream?.batches[0]?.columns[3]?.nulls).toBeGreaterThan(0);
    expect(stream?.fields.map(({ name }) => name)).toHaveLength(16);
  });

  it('tells where its texts are', () => {
    const { bytes, starts } = plainStream(oneColumn(vectorFromArray(['ab', '', 'é'], new Utf8())))?.batches[0]?.columns[0]?.texts ?? {};
    expect([...(starts ?? [])]).toEqual([0, 2, 2, 4]);
    expect(bytes?.toString('utf8', 0, 4)).toBe('abé');
  });

  it('may begin anywhere in its memory', () => {
    const body = streamOf(columnsOf(new SeededRandom(2), 20));
    for (let shift = 0; shift < 8; shift += 1) {
      const memory = Buffer.alloc(body.length + shift);
      body.copy(memory, shift);
      expect(plainStream(memory.subarray(shift))?.batches).toHaveLength(1);
    }
  });

  it('may have no rows, and no batch', () => {
    expect(plainStream(oneColumn(vectorFromArray([], new Utf8())))?.batches.every(({ rows }) => rows === 0)).toBe(true);
  });

  it.each([
    ['a cut one', oneColumn(vectorFromArray([1], new Int32())).subarray(0, -8)],
    ['bytes after it', Buffer.concat([oneColumn(vectorFromArray([1], new Int32())), Buffer.alloc(8)])],
    ['two of them', Buffer.concat([oneColumn(vectorFromArray([1], new Int32())), oneColumn(vectorFromArray([1], new Int32()))])],
    ['a dictionary', oneColumn(vectorFromArray(['a', 'a'], new Dictionary(new Utf8(), new Int32())))],
    ['integers that no BIGINT holds', oneColumn(vectorFromArray([1n], new Uint64()))],
    ['NaN', oneColumn(vectorFromArray([NaN], new Float64()))],
    ['infinity', oneColumn(vectorFromArray([-Infinity], new Float32()))],
    ['a list', oneColumn(vectorFromArray([[1]], new arrow.List(arrow.Field.new('item', new Int32()))))],
    ['a year after 9999', withInstant(INSTANT_MAX + 1n)],
    ['a zero byte in a text', oneColumn(vectorFromArray(['a\0b'], new Utf8()))],
    ['nothing', Buffer.alloc(0)],
    ['no Arrow', Buffer.from('{"id":"a"}\n{"id":"b"}\n')],
  ])('is not: %s', (_what, body) => {
    expect(plainStream(body)).toBeUndefined();
  });

  it('may have such values where a bitmap hides them', () => {
    const data = arrow.makeData({
      type: new Float64(),
      data: Float64Array.of(NaN, 1),
      nullBitmap: Uint8Array.of(0b10),
      nullCount: 1,
      length: 2,
    });
    expect(plainStream(oneColumn(arrow.makeVector(data)))?.batches[0]?.columns[0]?.nulls).toBe(1);
  });

  it('reaches the last instant', () => {
    expect(plainStream(withInstant(INSTANT_MAX))).toBeDefined();
  });

  it('is not: texts that end within a character, or another bitmap than is said', () => {
    const texts = (offsets: Int32Array, nullBitmap?: Uint8Array, nullCount = 0): Buffer =>
      oneColumn(
        arrow.makeVector(
          arrow.makeData({
            type: new Utf8(),
            data: Buffer.from('éé'),
            valueOffsets: offsets,
            length: 2,
            nullCount,
            ...(nullBitmap ? { nullBitmap } : {}),
          }),
        ),
      );
    expect(plainStream(texts(Int32Array.of(0, 2, 4)))).toBeDefined();
    expect(plainStream(texts(Int32Array.of(0, 1, 4)))).toBeUndefined();
    expect(plainStream(texts(Int32Array.of(0, 4, 2)))).toBeUndefined();
    expect(plainStream(texts(Int32Array.of(0, 2, 6)))).toBeUndefined();
    expect(plainStream(texts(Int32Array.of(0, 2, 4), Uint8Array.of(0b01), 1))).toBeDefined();
    expect(plainStream(texts(Int32Array.of(0, 2, 4), Uint8Array.of(0b11), 1))).toBeUndefined();
  });

  it('gives its values as text', () => {
    const columns = columnsOf(new SeededRandom(4), 60);
    const stream = streamOf(columns);
    const batch = plainStream(stream)?.batches[0];
    const table = arrow.tableFromIPC(stream);
    for (const [place, field] of plainFields(stream).entries()) {
      const textAt = textReader(plainType(field), batch?.columns[place]);
      const vector = table.getChildAt(place);
      for (let row = 0; row < 60; row += 1) {
        const value: unknown = vector?.get(row);
        expectThat(isValid(batch?.columns[place]?.valid, row), `${field.name} ${row}`).toBe(value !== null);
        if (value !== null) expectThat(textAt(row), `${field.name} ${row}`).toBe(textFor(field.name, value, vector, row));
      }
    }
    expect(textsOf(stream, 'id')).toEqual(Array.from({ length: 60 }, (_, row) => `id-${row}`));
    expect(() => textsOf(stream, 'nobody')).toThrow('nobody');
  });

  it('is joined with others of its schema', () => {
    const random = new SeededRandom(3);
    const streams = [10, 0, 7].map((rows) => streamOf(columnsOf(random, rows)));
    const joined = joinedStreams(streams);
    expect(arrow.tableFromIPC(joined).numRows).toBe(17);
    expect(plainFields(Buffer.from(joined)).map(({ name }) => name)).toContain('large');
    expect(parquetRows(joined)).toBe(17);
  });

  it(`is read by the converter, whatever was changed in it before it was taken for plain (SEED=${seedOfThisRun()})`, () => {
    const random = new SeededRandom(seedOfThisRun());
    let taken = 0;
    for (let round = 0; round < 600; round += 1) {
      const body = streamOf(columnsOf(random, random.integer(0, 9)));
      const changes = random.integer(1, 4);
      for (let change = 0; change < changes; change += 1) {
        // Before the batch's values more often than in them.
        const at = random.integer(0, random.chance(0.8) ? Math.min(body.length, 3_000) : body.length);
        body[at] = random.pick([0, 1, 8, 0x7f, 0x80, 0xff, random.integer(0, 256)]);
      }
      const stream = plainStream(body);
      if (!stream) continue;
      taken += 1;
      const rows = stream.batches.reduce((sum, batch) => sum + batch.rows, 0);
      const what = `round ${round}: ${body.toString('base64')}`;
      let read: unknown;
      try {
        read = parquetRows(joinedStreams([stream.bytes]));
      } catch (error) {
        // Names and metadata that are no text: the schema is tried before any of its rows is taken.
        read = isReadableSchema(stream.bytes) ? error : rows;
      }
      expectThat(read, what).toBe(rows);
    }
    expect(taken).toBeGreaterThan(60);
  });
});

/** What apache-arrow reads, as text; of instants it gives no more than milliseconds. */
function textFor(name: string, value: unknown, vector: arrow.Vector | null, row: number): string {
  if (name === 'day') return new Date(Number(value)).toISOString().slice(0, 10);
  if (name === 'ms') return new Date(Number(value)).toISOString().replace('Z', '000Z');
  if (name === 'us') {
    const micros = Number((vector?.data[0]?.values as BigInt64Array)[row]);
    return `${new Date(Math.floor(micros / 1_000)).toISOString().slice(0, -1)}${String(micros % 1_000).padStart(3, '0')}Z`;
  }
  return Object.is(value, -0) ? '-0.0' : String(value);
}

function isReadableSchema(stream: Buffer): boolean {
  try {
    parquetRows(joinedStreams([Buffer.concat([stream.subarray(0, 8 + stream.readInt32LE(4)), stream.subarray(-8)])]));
    return true;
  } catch {
    return false;
  }
}
