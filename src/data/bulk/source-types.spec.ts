import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { LIST, MAP, STRUCT, BIGINT, BLOB, DECIMAL, DOUBLE, INTEGER, VARCHAR } from '@duckdb/node-api';
import fc from 'fast-check';
import { expectThat } from '../../../test/support/expectations.js';
import type { SourceField } from '../../engine/source-field.js';
import { assertReadable, type ColumnarFormat, decoded, isReadAs, READ_TYPES, readTypesTable } from './source-types.js';

const field = (type: string, children: readonly SourceField[] = [], name = 'x'): SourceField => ({ name, type, children });
const decimal = (type: string, precision: number, scale: number): SourceField => ({ ...field(type), decimal: { precision, scale } });
const FORMATS: readonly ColumnarFormat[] = ['parquet', 'arrow'];
const LISTS = { parquet: 'LIST', arrow: 'List' };
const STRUCTS = { parquet: 'STRUCT', arrow: 'Struct' };

describe('the types that are read', () => {
  it('are those that docs/bulk.md names', () => {
    const docs = readFileSync(new URL('../../../docs/bulk.md', import.meta.url), 'utf8');
    for (const line of readTypesTable()) expect(docs.split('\n')).toContain(line);
  });

  it('say of each what the engine makes of it, and nothing but integers become BIGINT', () => {
    for (const format of FORMATS)
      for (const [type, { engine, column }] of Object.entries(READ_TYPES[format]))
        if (column === 'BIGINT') expect(`${type}: ${engine}`).toMatch(/INT/);
  });

  it('do not include what nobody has entered, whatever it is called', () => {
    fc.assert(
      fc.property(fc.constantFrom(...FORMATS), fc.string(), (format, type) => {
        fc.pre(!Object.hasOwn(READ_TYPES[format], type));
        expect(() => assertReadable(format, [field(type)])).toThrow(/^column x is /);
        expect(() => assertReadable(format, [field(LISTS[format], [field(type, [], 'item')])])).toThrow(/^column x has /);
      }),
    );
    for (const name of ['constructor', 'toString', '__proto__'])
      expect(() => assertReadable('arrow', [field(name)])).toThrow(/^column x is/);
  });

  it.each(['VARIANT', 'GEOMETRY', 'GEOGRAPHY', 'BSON', 'INTERVAL', 'TIME_MICROS', ''])('leave out BYTE_ARRAY %s', (logical) => {
    expect(() => assertReadable('parquet', [field(`BYTE_ARRAY ${logical}`.trim())])).toThrow(/^column x is Parquet BYTE_ARRAY/);
  });

  it('leave out annotations on what they do not belong to', () => {
    for (const type of [
      'DOUBLE DECIMAL',
      'INT32 TIMESTAMP_MILLIS',
      'INT64 DATE',
      'INT32 UINT_64',
      'STRUCT VARIANT',
      'INT64 UINT_64 (INT_64)',
    ])
      expectThat(() => assertReadable('parquet', [field(type)]), type).toThrow(/^column x is/);
  });
});

describe('decimals', () => {
  it.each([
    [38, 0],
    [38, 38],
    [1, 1],
  ])('of (%i,%i) are read', (precision, scale) => {
    expect(() => assertReadable('parquet', [decimal('FIXED_LEN_BYTE_ARRAY DECIMAL', precision, scale)])).not.toThrow();
    expect(() => assertReadable('arrow', [decimal('Decimal256', precision, scale)])).not.toThrow();
  });

  it.each([
    [39, 2, 'cast it to DECIMAL(38,s), or to text'],
    [5, -1, 'scale'],
    [5, 6, 'scale'],
  ])('of (%i,%i) are refused', (precision, scale, says) => {
    expect(() => assertReadable('arrow', [decimal('Decimal256', precision, scale)])).toThrow(says);
  });

  it('have fewer digits inside of others, at any depth', () => {
    const inside = (precision: number): SourceField[] => [
      field('Struct', [field('List', [field('Map', [field('Utf8', [], 'key'), decimal('Decimal128', precision, 2)])], 'l')]),
    ];
    expect(() => assertReadable('arrow', inside(15))).not.toThrow();
    expect(() => assertReadable('arrow', inside(16))).toThrow(
      /^column x has Arrow Decimal128\(16,2\) inside \(x\.l\..*cast it to DECIMAL\(15,s\)/,
    );
  });
});

describe('names', () => {
  const named = (...names: string[]): SourceField[] => names.map((name) => field('BOOLEAN', [], name));

  it.each([
    [['a', 'A'], 'column A is there twice (names are compared without case: a, A)'],
    [['a', 'b', 'a'], 'column a is there twice (names are compared without case)'],
    [['É', 'é'], 'column é is there twice'],
    [['a', ''], 'column 2 has an empty name'],
  ])('%j are refused, of columns and of fields', (names, says) => {
    expect(() => assertReadable('parquet', named(...names))).toThrow(says);
    const struct = field(STRUCTS.parquet, named(...names));
    expect(() => assertReadable('parquet', [field(LISTS.parquet, [struct])])).toThrow(`column x: ${says.replace('column', 'field')}`);
  });

  it('of fields in different structs are no matter', () => {
    expect(() => assertReadable('parquet', [field('STRUCT', named('a'), 'x'), field('STRUCT', named('A'), 'y')])).not.toThrow();
  });
});

describe('what is encoded by a dictionary or by runs', () => {
  it('stands for its values', () => {
    expect(decoded(field('Dictionary', [field('Utf8', [], 'values')]))).toEqual(field('Utf8'));
    expect(() => assertReadable('arrow', [field('RunEndEncoded', [field('Float64')])])).not.toThrow();
  });

  it.each(['Utf8View', 'BinaryView', 'Binary', 'Dictionary', 'Struct', 'List'])('is refused when its values are %s', (type) => {
    expect(() => assertReadable('arrow', [field('Dictionary', [field(type, [field('Utf8')])])])).toThrow(/^column x is/);
    expect(() => assertReadable('arrow', [field('Dictionary', [field(type)])])).toThrow(/^column x is/);
  });
});

describe('the engine', () => {
  it('reads a field as the list says, to the innermost', () => {
    const list = field('LIST', [field('STRUCT', [field('INT64', [], 'a')], 'element')]);
    expect(isReadAs('parquet', list, LIST(STRUCT({ a: BIGINT })))).toBe(true);
    expect(isReadAs('parquet', list, LIST(STRUCT({ a: INTEGER })))).toBe(false);
    expect(isReadAs('parquet', list, LIST(STRUCT({ a_1: BIGINT })))).toBe(false);
    expect(isReadAs('parquet', list, LIST(STRUCT({ a: BIGINT, b: BIGINT })))).toBe(false);
    const map = field('MAP', [field('BYTE_ARRAY STRING'), field('DOUBLE')]);
    expect(isReadAs('parquet', map, MAP(VARCHAR, DOUBLE))).toBe(true);
    expect(isReadAs('parquet', map, MAP(BLOB, DOUBLE))).toBe(false);
  });

  it('takes no decimal for another, nor for a DOUBLE', () => {
    const given = decimal('FIXED_LEN_BYTE_ARRAY DECIMAL', 20, 2);
    expect(isReadAs('parquet', given, DECIMAL(20, 2))).toBe(true);
    expect(isReadAs('parquet', given, DECIMAL(20, 3))).toBe(false);
    expect(isReadAs('parquet', given, DECIMAL(18, 2))).toBe(false);
    expect(isReadAs('parquet', given, DOUBLE)).toBe(false);
  });
});
