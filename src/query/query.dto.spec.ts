import { describe, expect, it } from '@jest/globals';
import 'reflect-metadata';
import { parseJson } from '../common/json.js';
import { validated } from '../api/validation-pipe.js';
import { QueryDto } from './query.dto.js';

function fromBody(json: string): QueryDto {
  return validated(QueryDto, parseJson(json, 'the request body'));
}

describe('body of a query', () => {
  it('keeps its parameters as they came', () => {
    expect(fromBody('{"sql":"SELECT ?","params":[1,"a",null,true]}').params).toEqual([1, 'a', null, true]);
    expect(fromBody('{"sql":"SELECT $a","params":{"a":1.5}}').params).toEqual({ a: 1.5 });
  });

  it.each(['9223372036854775807', '10.0', '1e3'])('keeps the parameter %s, which a double cannot tell', (number) => {
    const { params } = fromBody(`{"sql":"SELECT ?","params":[${number}]}`);
    expect(params).toMatchObject([{ value: number }]);
  });

  it.each([
    '{"sql":"SELECT 1","limit":10.0}',
    '{"sql":"SELECT 1","limit":12345678901234567890}',
    '{"sql":12345678901234567890}',
    '{"sql":"SELECT 1","nonsense":1e3}',
  ])('answers %s as a bad request if it takes it not', (body) => {
    try {
      fromBody(body);
    } catch (error) {
      expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
  });
});
