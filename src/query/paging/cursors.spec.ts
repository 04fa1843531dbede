import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { expectThat, waitFor } from '../../../test/support/expectations.js';
import { Principal, SYSTEM } from '../../common/access.js';
import { Cursors, type OpenResult, statementHash } from './cursors.js';

const STATEMENT = statementHash('SELECT 1', undefined, undefined);

let cursors: Cursors;
let released: string[];
beforeEach(() => {
  cursors = new Cursors(3, 600);
  released = [];
});
afterEach(() => cursors.close());

function result(name = 'r', statement = STATEMENT): OpenResult {
  return {
    callerSql: name,
    sql: name,
    parameters: [],
    columns: [],
    owner: SYSTEM.policy,
    statement,
    views: new Map(),
    tables: [],
    mayAmplify: false,
    release: () => released.push(name),
  };
}

function refusal(reason: RegExp): unknown {
  return expect.objectContaining({
    code: 'INVALID_ARGUMENT',
    message: expect.stringMatching(reason),
    details: [expect.objectContaining({ field: 'cursor' })],
  });
}

describe('cursor', () => {
  it('finds its result and position, however often it is used', () => {
    const kept = result();
    const id = cursors.keep(kept);
    for (const position of [0, 1, 1_000, Number.MAX_SAFE_INTEGER]) {
      const token = cursors.token(id, position);
      for (let use = 0; use < 2; use += 1) expect(cursors.find(token, SYSTEM, STATEMENT)).toEqual({ id, result: kept, position });
    }
  });

  it('may come without its statement', () => {
    const token = cursors.token(cursors.keep(result()), 5);
    expect(cursors.find(token, SYSTEM, undefined).position).toBe(5);
  });

  it('is text that needs no escaping in a URL', () => {
    expect(cursors.token(cursors.keep(result()), 5)).toMatch(/^[A-Za-z0-9_-]+$/);
  });
});

describe('cursor that is refused', () => {
  it.each(['', 'x', 'not a cursor', 'A'.repeat(48), 'A'.repeat(47), '\u{1F600}', '../../etc/passwd'])(
    'is %j, which this server never made',
    (token) => {
      expect(() => cursors.find(token, SYSTEM, undefined)).toThrow(refusal(/wrong form|signature/));
    },
  );

  it('is one with any character changed', () => {
    const token = cursors.token(cursors.keep(result()), 1_000);
    for (let place = 0; place < token.length; place += 1) {
      const changed = token.slice(0, place) + (token[place] === 'A' ? 'B' : 'A') + token.slice(place + 1);
      expectThat(() => cursors.find(changed, SYSTEM, undefined), `character ${place}`).toThrow(refusal(/wrong form|signature/));
    }
  });

  it('is one that is longer, shorter, or written in another way', () => {
    const token = cursors.token(cursors.keep(result()), 1_000);
    for (const changed of [`${token}A`, token.slice(0, -1), `${token}=`, ` ${token}`, `${token}\n`, token.replace(/^(.)/, '$1\n')]) {
      expectThat(() => cursors.find(changed, SYSTEM, undefined), JSON.stringify(changed)).toThrow(refusal(/wrong form/));
    }
  });

  it('is one of another server, or of before a restart', () => {
    const other = new Cursors(3, 600);
    const token = other.token(other.keep(result()), 1);
    expect(() => cursors.find(token, SYSTEM, undefined)).toThrow(refusal(/signature does not match/));
    other.close();
  });

  it('is one of somebody else, or of other rights', () => {
    const token = cursors.token(cursors.keep(result()), 1);
    for (const reader of [new Principal('other', 'admin', undefined), new Principal('system', 'reader', undefined)])
      expect(() => cursors.find(token, reader, STATEMENT)).toThrow(refusal(/another caller/));
  });

  it('is one of another statement', () => {
    const token = cursors.token(cursors.keep(result()), 1);
    expect(() => cursors.find(token, SYSTEM, statementHash('SELECT 2', undefined, undefined))).toThrow(refusal(/belongs to another query/));
    expect(() => cursors.find(token, SYSTEM, STATEMENT)).not.toThrow();
  });

  it('is one whose result gave way to newer ones', () => {
    const tokens = ['a', 'b', 'c'].map((name) => cursors.token(cursors.keep(result(name)), 0));
    cursors.find(tokens[0] ?? '', SYSTEM, undefined);
    cursors.keep(result('d'));
    expect(() => cursors.find(tokens[1] ?? '', SYSTEM, undefined)).toThrow(refusal(/has expired/));
    expect(() => cursors.find(tokens[0] ?? '', SYSTEM, undefined)).not.toThrow();
    expect(released).toEqual(['b']);
  });

  it('is one whose time is over', async () => {
    const brief = new Cursors(3, 0.05);
    const token = brief.token(brief.keep(result()), 0);
    await waitFor(() => expect(released).toEqual(['r']), { timeout: 5_000 });
    expect(() => brief.find(token, SYSTEM, undefined)).toThrow(refusal(/has expired/));
    expect(brief.count).toBe(0);
    brief.close();
  });
});

describe('kept results', () => {
  it('are counted and bounded', () => {
    for (let index = 0; index < 10; index += 1) cursors.keep(result(String(index)));
    expect(cursors.count).toBe(3);
    expect(released).toEqual(['0', '1', '2', '3', '4', '5', '6']);
  });

  it('are all released at the end, each once', () => {
    for (const name of ['a', 'b']) cursors.keep(result(name));
    cursors.close();
    cursors.close();
    expect(released.sort()).toEqual(['a', 'b']);
  });
});

describe('hash of a statement', () => {
  it('tells statements, parameters and instants apart', () => {
    const hashes = [
      statementHash('SELECT 1', undefined, undefined),
      statementHash('SELECT 2', undefined, undefined),
      statementHash('SELECT 1', [1], undefined),
      statementHash('SELECT 1', ['1'], undefined),
      statementHash('SELECT 1', { a: 1 }, undefined),
      statementHash('SELECT 1', undefined, 1),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
  });

  it('is the same without what makes no difference', () => {
    expect(statementHash(' SELECT 1\n', null, undefined)).toBe(STATEMENT);
  });
});
