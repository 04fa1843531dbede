import { describe, expect, it } from '@jest/globals';
import { parseJson } from '../common/json.js';
import { toParameters } from './query-parameters.js';

function fromRequest(json: string): unknown {
  return (parseJson(`{"params":${json}}`, 'the request') as { params: unknown }).params;
}

describe('query parameters', () => {
  it('may be left out', () => {
    expect(toParameters(undefined)).toEqual([]);
    expect(toParameters(null)).toEqual([]);
  });

  it('are values in an array, or by name in an object', () => {
    expect(toParameters(fromRequest('["a", 1, 1.5, true, null]'))).toEqual(['a', 1, 1.5, true, null]);
    expect(toParameters(fromRequest('{"name":"a","n":1}'))).toEqual({ name: 'a', n: 1 });
  });

  it.each([
    ['2147483647', 2_147_483_647],
    ['-2147483647', -2_147_483_647],
    ['2147483648', 2_147_483_648n],
    ['-2147483648', -2_147_483_648n],
    ['9007199254740993', 9_007_199_254_740_993n],
    ['9223372036854775807', 9_223_372_036_854_775_807n],
    ['170141183460469231731687303715884105727', 2n ** 127n - 1n],
    ['-170141183460469231731687303715884105728', -(2n ** 127n)],
    ['10.0', 10],
    ['1e3', 1_000],
  ])('keep the whole number %s exact', (json, value) => {
    expect(toParameters(fromRequest(`[${json}]`))).toEqual([value]);
  });

  it('keep text as it is: it never becomes SQL', () => {
    const text = "'; DROP TABLE people; --";
    expect(toParameters([text])).toEqual([text]);
  });

  it.each([
    ['[[1]]', '1'],
    ['[{"a":1}]', '1'],
    ['{"x":[1]}', 'x'],
    ['["\\ud800"]', '1'],
    ['{"y":"a\\udc00"}', 'y'],
  ])('%s are refused with the name of the value', (json, name) => {
    expect(() => toParameters(fromRequest(json))).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(`value of ${name} `) }),
    );
  });

  it.each(['"text"', '1', 'true', '10.0'])('%s are refused: neither array nor object', (json) => {
    expect(() => toParameters(fromRequest(json))).toThrow(/params must be an array .* or an object/);
  });

  it('are bounded in number, by name as well as by place', () => {
    const values = Array.from({ length: 1_001 }, (_value, index) => index);
    expect(() => toParameters(values.slice(1))).not.toThrow();
    expect(() => toParameters(values)).toThrow(/at most 1000/);
    expect(() => toParameters(Object.fromEntries(values.map((value) => [`p${value}`, value])))).toThrow(/at most 1000/);
  });

  // The engine's client turns 2^127 into -2^127 without a word.
  it.each(['170141183460469231731687303715884105728', '-170141183460469231731687303715884105729', '9'.repeat(60), '1e400'])(
    'are refused when they fit no number of the engine, as %s',
    (json) => {
      expect(() => toParameters(fromRequest(`[${json}]`))).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    },
  );
});
