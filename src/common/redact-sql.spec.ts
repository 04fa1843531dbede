import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { redactSql } from './redact-sql.js';

const CASES: readonly (readonly [string, string])[] = [
  ["SELECT * FROM t WHERE name = 'O''Hara' AND n > 10.5e3", 'SELECT * FROM t WHERE name = ? AND n > ?'],
  ['SELECT "a 1", t1.b2 FROM "T""x" LIMIT 10', 'SELECT "a 1", t1.b2 FROM "T""x" LIMIT ?'],
  ["SELECT $$secret 'x' text$$, $tag$ more $$ $tag$ , 1", 'SELECT ?, ? , ?'],
  ["SELECT E'it\\'s', 1_000, 0xFF, .5, -3", 'SELECT ?, ?, ?, ?, -?'],
  ["SELECT 1 -- secret comment 'x'\n, 2 /* 'y' 3 */ FROM t", 'SELECT ? , ? FROM t'],
  ["SELECT 'never ends", 'SELECT ?'],
  ['SELECT /* never ends', 'SELECT'],
  ['SELECT $1, ?, $name', 'SELECT $?, ?, $name'],
  ["DATE '2024-01-01', x'00'", 'DATE ?, x?'],
  ["WHERE a = 'ends with \\' AND b = 'secret'", 'WHERE a = ? AND b = ?'],
];

describe('redactSql', () => {
  it.each(CASES)('%s', (sql, redacted) => expect(redactSql(sql, 1_000)).toBe(redacted));

  it('leaves no character of a value', () => {
    const secret = fc.string({ minLength: 1 }).map((text) => `\u{1F511}${text.replaceAll("'", "''")}`);
    fc.assert(
      fc.property(secret, fc.integer({ min: 100_000 }), (text, number) => {
        const redacted = redactSql(`SELECT a FROM t WHERE b = '${text}' AND c = ${number} OR "d" LIKE '%${text}'`, 1_000);
        expect(redacted).toBe('SELECT a FROM t WHERE b = ? AND c = ? OR "d" LIKE ?');
      }),
      { seed: 20261124 },
    );
  });

  it('looks at no more of a long statement than is wanted', () => {
    const values = Array.from({ length: 300_000 }, (_, number) => `'secret ${number}'`).join(', ');
    const statement = `SELECT a FROM t WHERE b IN (${values})`;
    const startedMs = performance.now();
    redactSql(statement, Infinity);
    const wholeMs = performance.now() - startedMs;
    const againMs = performance.now();
    const redacted = redactSql(statement, 100);
    expect(performance.now() - againMs).toBeLessThan(wholeMs / 4);
    expect(redacted).toBe(`SELECT a FROM t WHERE b IN (${'?, '.repeat(30)}`.slice(0, 100).trim());
  });
});
