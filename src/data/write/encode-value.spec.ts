import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { expectThat } from '../../../test/support/expectations.js';
import { parseJson } from '../../common/json.js';
import type { ColumnType } from '../../delta/table-schema.js';
import { encodeValue, inferType, type Misfit } from './encode-value.js';

if (process.env['SEED']) fc.configureGlobal({ seed: Number(process.env['SEED']) });

const DEPTH_MAX = 8;

/** A value as it comes out of a request. */
function fromRequest(json: string): unknown {
  return (parseJson(`{"value":${json}}`, 'the request') as { value: unknown }).value;
}

function encode(json: string, type: ColumnType): string | Misfit {
  return encodeValue(fromRequest(json), type, DEPTH_MAX);
}

describe('type of a new column', () => {
  it.each([
    ['1', 'BIGINT'],
    ['-0', 'BIGINT'],
    ['9223372036854775807', 'BIGINT'],
    ['1.5', 'DOUBLE'],
    ['10.0', 'DOUBLE'],
    ['1e3', 'DOUBLE'],
    ['1E400', 'DOUBLE'],
    ['true', 'BOOLEAN'],
    ['"2024-01-01"', 'VARCHAR'],
    ['{}', 'JSON'],
    ['[1]', 'JSON'],
  ])('of %s is %s', (json, type) => {
    expect(inferType(fromRequest(json))).toBe(type);
  });
});

describe('value that fits its column', () => {
  it.each([
    ['1', 'BIGINT', '1'],
    ['9007199254740993', 'BIGINT', '9007199254740993'],
    ['9223372036854775807', 'BIGINT', '9223372036854775807'],
    ['-9223372036854775808', 'BIGINT', '-9223372036854775808'],
    ['10.0', 'BIGINT', '10'],
    ['1e3', 'BIGINT', '1000'],
    ['90071992547409930e-1', 'BIGINT', '9007199254740993'],
    ['0.000e-400', 'BIGINT', '0'],
    ['0e-400', 'DOUBLE', '0e-400'],
    ['5e-324', 'DOUBLE', '5e-324'],
    ['-0', 'BIGINT', '0'],
    ['2147483647', 'INTEGER', '2147483647'],
    ['-2147483648', 'INTEGER', '-2147483648'],
    ['1', 'DOUBLE', '1'],
    ['9007199254740992', 'DOUBLE', '9007199254740992'],
    ['1.10', 'DOUBLE', '1.1'],
    ['10.0', 'DOUBLE', '10.0'],
    ['1e-7', 'DOUBLE', '1e-7'],
    ['-0.0', 'DOUBLE', '-0.0'],
    ['1.7976931348623157e308', 'DOUBLE', '1.7976931348623157e308'],
    ['false', 'BOOLEAN', 'false'],
    ['"a\\u0000\\n\\"\u{1F600}"', 'VARCHAR', '"a\\u0000\\n\\"\u{1F600}"'],
    ['""', 'VARCHAR', '""'],
    ['{"a":[1,10.0,12345678901234567890,null]}', 'JSON', '{"a":[1,10.0,12345678901234567890,null]}'],
    ['"text"', 'JSON', '"text"'],
    ['10.0', 'JSON', '10.0'],
    ['"2024-01-01T10:00:00+01:00"', 'TIMESTAMPTZ', '"2024-01-01T09:00:00.000000Z"'],
    ['1704103200123', 'TIMESTAMPTZ', '"2024-01-01T10:00:00.123000Z"'],
    ['"2024-02-29"', 'DATE', '"2024-02-29"'],
    ['12.50', 'DECIMAL(4,2)', '"12.5"'],
    ['"12.50"', 'DECIMAL(4,2)', '"12.50"'],
    ['-0012', 'DECIMAL(4,2)', '"-12"'],
    ['99999999999999999999999999999999999999', 'DECIMAL(38,0)', '"99999999999999999999999999999999999999"'],
    ['0.12345678901234567890123456789012345678', 'DECIMAL(38,38)', '"0.12345678901234567890123456789012345678"'],
  ] as [string, ColumnType, string][])('%s in %s is %s', (json, type, text) => {
    // A number with zeros before it is no JSON; it can come from a driver only.
    expect(encode(json.replace(/^(-?)0+(?=[1-9])/, '$1'), type)).toBe(text);
  });

  it('keeps every 64-bit integer exact', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (integer) => {
        expect(encode(String(integer), 'BIGINT')).toBe(String(integer));
      }),
    );
  });

  it('keeps every double, as the same double', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (double) => {
        const text = encode(JSON.stringify(double), 'DOUBLE');
        // A whole double beyond 2^53 is written as an integer of which it may be the nearest only.
        if (typeof text !== 'string') expect(Number.isSafeInteger(double)).toBe(false);
        else expect(Number(text) === double || Object.is(Number(text), double)).toBe(true);
      }),
    );
  });

  it.each([
    ['a small fraction', '0.00000001', '0.00000001'],
    ['another', '0.0000001', '0.0000001'],
  ])('takes %s into a DECIMAL that has the digits', (_name, json, digits) => {
    expect(encode(json, 'DECIMAL(18,8)')).toBe(`"${digits}"`);
  });

  it('keeps every decimal that has no more digits than its column', () => {
    const units = fc.bigInt({ min: -(10n ** 18n) + 1n, max: 10n ** 18n - 1n });
    fc.assert(
      fc.property(units, fc.boolean(), (unscaled, asText) => {
        const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(9, '0');
        const text = `${unscaled < 0n ? '-' : ''}${digits.slice(0, -8)}.${digits.slice(-8)}`;
        const encoded = encode(asText ? JSON.stringify(text) : text, 'DECIMAL(18,8)');
        expect(typeof encoded === 'string' ? scaledBy8(JSON.parse(encoded) as string) : `${text} was refused`).toBe(unscaled);
      }),
    );
  });
});

function scaledBy8(text: string): bigint {
  const [, sign = '', whole = '', fraction = ''] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text) ?? [];
  return BigInt(sign + whole + fraction.slice(0, 8).padEnd(8, '0'));
}

describe('value that does not fit its column', () => {
  it.each([
    ['1.5', 'BIGINT'],
    ['-0.25', 'BIGINT'],
    ['1e-3', 'BIGINT'],
    ['0.1234567890123456789', 'BIGINT'],
    ['9007199254740990.5', 'BIGINT'],
    ['1.00000000000000000001', 'BIGINT'],
    ['1e-400', 'BIGINT'],
    ['1e30', 'BIGINT'],
  ] as [string, ColumnType][])('%s would make %s a DOUBLE', (json, type) => {
    expect(encode(json, type)).toMatchObject({ wantsDouble: true });
  });

  it.each([
    ['9223372036854775808', 'BIGINT'],
    ['-9223372036854775809', 'BIGINT'],
    ['"1"', 'BIGINT'],
    ['true', 'BIGINT'],
    ['[1]', 'BIGINT'],
    ['{}', 'BIGINT'],
    ['2147483648', 'INTEGER'],
    ['-2147483649', 'INTEGER'],
    ['12345678901234567890', 'INTEGER'],
    ['9007199254740993', 'DOUBLE'],
    ['1e400', 'DOUBLE'],
    ['-1e400', 'DOUBLE'],
    ['1e-400', 'DOUBLE'],
    ['-0.01E-323', 'DOUBLE'],
    [`0.${'0'.repeat(330)}1`, 'DOUBLE'],
    ['1e-400', 'DECIMAL(38,38)'],
    ['1e-400', 'JSON'],
    ['{"a":[1e-400]}', 'JSON'],
    ['"1.5"', 'DOUBLE'],
    ['"NaN"', 'DOUBLE'],
    ['false', 'DOUBLE'],
    ['1', 'BOOLEAN'],
    ['"true"', 'BOOLEAN'],
    ['1', 'VARCHAR'],
    ['{"a":1}', 'VARCHAR'],
    ['"\\ud800"', 'VARCHAR'],
    ['"\\ud800"', 'JSON'],
    ['{"\\udfff":1}', 'JSON'],
    ['"yesterday"', 'TIMESTAMPTZ'],
    ['"2024-01-01T10"', 'TIMESTAMPTZ'],
    ['1.5e3', 'TIMESTAMPTZ'],
    ['"2023-02-29"', 'DATE'],
    ['"2024-1-1"', 'DATE'],
    ['1704103200123', 'DATE'],
    ['12.345', 'DECIMAL(4,2)'],
    ['123', 'DECIMAL(4,2)'],
    ['"1,5"', 'DECIMAL(4,2)'],
    ['""', 'DECIMAL(4,2)'],
    ['true', 'DECIMAL(4,2)'],
  ] as [string, ColumnType][])('%s is refused by %s', (json, type) => {
    expect(encode(json, type)).toMatchObject({ wantsDouble: false });
  });

  it('is a number of ten million digits, which are not counted', () => {
    expect(encode('9'.repeat(10_000_000), 'BIGINT')).toMatchObject({ wantsDouble: false });
  });

  it('is a value nested deeper than allowed', () => {
    const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
    expect(encode(nested(DEPTH_MAX), 'JSON')).toBe(nested(DEPTH_MAX));
    expect(encode(nested(DEPTH_MAX + 1), 'JSON')).toMatchObject({
      wantsDouble: false,
      reason: expect.stringContaining('nested too deeply'),
    });
  });
});

/** gRPC gives numbers as doubles, also where JSON would not. */
describe('double from gRPC', () => {
  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('%d is refused by every type, also inside of JSON', (value) => {
    for (const type of ['BIGINT', 'INTEGER', 'DOUBLE', 'JSON', 'DECIMAL(4,2)', 'TIMESTAMPTZ', 'VARCHAR'] as const) {
      expectThat(encodeValue(value, type, DEPTH_MAX), type).toMatchObject({ wantsDouble: false });
    }
    expect(encodeValue({ list: [value] }, 'JSON', DEPTH_MAX)).toMatchObject({ wantsDouble: false });
  });

  it.each([2 ** 53, 2 ** 60, -(2 ** 63), 2 ** 63 - 1_024])('%d becomes the integer it is, or is refused', (value) => {
    const encoded = encodeValue(value, 'BIGINT', DEPTH_MAX);
    if (typeof encoded === 'string') expect(BigInt(encoded)).toBe(BigInt(value));
  });

  it('is refused by BIGINT when it is 2^63 or more', () => {
    expect(encodeValue(2 ** 63, 'BIGINT', DEPTH_MAX)).toMatchObject({ wantsDouble: false });
  });
});
