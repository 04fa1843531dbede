import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type ScratchEngine, openScratchEngine } from '../../../test/support/scratch-engine.js';
import type { SourceField } from '../source-field.js';
import { parquetFields } from './parquet-fields.js';
import { type ElementField, numberField, rewriteFooter } from './rewrite-footer.js';

const BODIES = JSON.parse(readFileSync(new URL('../../../test/fixtures/columnar-bodies.json', import.meta.url), 'utf8')) as Record<
  string,
  string
>;
/** Ids of the fields of `SchemaElement`, and numbers of `ConvertedType`. */
const [CONVERTED_TYPE, SCALE, PRECISION, LOGICAL_TYPE] = [6, 7, 8, 10];
const CONVERTED = { UTF8: 0, DECIMAL: 5, UINT_64: 14, INT_64: 18, INTERVAL: 21 };

let scratch: ScratchEngine;
beforeAll(async () => {
  scratch = await openScratchEngine();
});
afterAll(() => scratch.close());

let files = 0;

/** The column x of a body, annotated otherwise: everything that is said of it is replaced. */
async function fileOf(name: string, annotation?: readonly ElementField[], keeps: readonly number[] = []): Promise<string> {
  const file = path.join(scratch.directory, `${(files += 1)}.parquet`);
  writeFileSync(file, Buffer.from(BODIES[name] ?? '', 'base64'));
  let column = 0;
  if (annotation)
    await rewriteFooter(file, (fields) => {
      column += 1;
      const kept = fields.filter(({ id }) => ![CONVERTED_TYPE, SCALE, PRECISION, LOGICAL_TYPE].includes(id) || keeps.includes(id));
      return column === 2 ? [...kept, ...annotation] : fields;
    });
  return file;
}

async function fieldOf(name: string, annotation?: readonly ElementField[], keeps?: readonly number[]): Promise<SourceField | undefined> {
  return (await parquetFields(scratch.engine, await fileOf(name, annotation, keeps)))[1];
}

describe('the columns of a Parquet file', () => {
  it.each([
    ['uint64', 'INT64 UINT_64'],
    ['float16', 'FIXED_LEN_BYTE_ARRAY FLOAT16'],
    ['timestamp[ns, UTC]', 'INT64 TIMESTAMP_NANOS UTC'],
    ['timestamp[us]', 'INT64 TIMESTAMP_MICROS'],
    ['time64[ns]', 'INT64 TIME_NANOS'],
    ['int96', 'INT96'],
    ['null', 'INT32 NULL'],
    ['json', 'BYTE_ARRAY JSON'],
    ['uuid', 'FIXED_LEN_BYTE_ARRAY UUID'],
    ['binary', 'BYTE_ARRAY'],
  ])('%s are %s', async (name, type) => {
    expect(await fieldOf(`parquet ${name}`)).toEqual({ name: 'x', type, children: [] });
  });

  it('have what is inside of them', async () => {
    const utf8 = { name: 'key', type: 'BYTE_ARRAY STRING', children: [] };
    const decimal = { name: 'value', type: 'FIXED_LEN_BYTE_ARRAY DECIMAL', decimal: { precision: 50, scale: 2 }, children: [] };
    expect(await fieldOf('parquet map to decimal(50,2)')).toEqual({ name: 'x', type: 'MAP', children: [utf8, decimal] });
    const element = { name: 'element', type: 'STRUCT', children: ['a', 'a'].map((name) => ({ name, type: 'INT64', children: [] })) };
    expect(await fieldOf('parquet list of structs with a field twice')).toEqual({ name: 'x', type: 'LIST', children: [element] });
  });

  it('are annotated by old files in the old way', async () => {
    const annotated = (name: string, converted: number): Promise<SourceField | undefined> =>
      fieldOf(name, [numberField(CONVERTED_TYPE, converted)]);
    expect((await annotated('parquet binary', CONVERTED.UTF8))?.type).toBe('BYTE_ARRAY STRING');
    expect((await annotated('parquet fixed_size_binary[2]', CONVERTED.INTERVAL))?.type).toBe('FIXED_LEN_BYTE_ARRAY INTERVAL');
    expect((await annotated('parquet uint64', CONVERTED.UINT_64))?.type).toBe('INT64 UINT_64');
  });

  it('are of a type that nobody knows when two annotations say two things', async () => {
    const field = await fieldOf('parquet uint64', [numberField(CONVERTED_TYPE, CONVERTED.INT_64)], [LOGICAL_TYPE]);
    expect(field?.type).toBe('INT64 UINT_64 (INT_64)');
  });

  it('of decimals in bytes of any number are read to the last digit', async () => {
    const decimal = [numberField(CONVERTED_TYPE, CONVERTED.DECIMAL), numberField(SCALE, 2), numberField(PRECISION, 38)];
    const file = await fileOf('parquet binary', decimal);
    expect((await parquetFields(scratch.engine, file))[1]).toEqual({
      name: 'x',
      type: 'BYTE_ARRAY DECIMAL',
      decimal: { precision: 38, scale: 2 },
      children: [],
    });
    // The two bytes of the text `ab`.
    expect(await scratch.engine.row(`SELECT x::VARCHAR AS x FROM read_parquet('${file}')`)).toEqual({ x: '249.30' });
  });
});
