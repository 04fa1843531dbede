import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { expectThat } from '../../../test/support/expectations.js';
import { IdempotencyKeys } from './idempotency.js';

const KEYS = ['a', 'b', 'c'];

let directory: string;
let file: string;
beforeEach(async () => {
  directory = mkdtempSync(path.join(tmpdir(), 'miniodb-keys-'));
  file = path.join(directory, 'idempotency.ndjson');
  const keys = new IdempotencyKeys(file, 100, 1);
  for (const key of KEYS) keys.remember(key, { fingerprint: `of-${key}`, answer: { lsn: 1, ids: [key], count: 1, refusals: [] } });
  await keys.save();
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Numbers of the damaged lines, and the keys that are known after all. */
async function loaded(): Promise<{ damaged: number[]; known: string[] }> {
  const keys = new IdempotencyKeys(file, 100, 1);
  const damaged = await keys.load();
  const known: string[] = [];
  for (const key of KEYS) {
    let isNew = false;
    await keys.once({ key, fingerprint: `of-${key}` }, () => {
      isNew = true;
      return Promise.resolve({ lsn: 2, ids: [], count: 0, refusals: [] });
    });
    if (!isNew) known.push(key);
  }
  return { damaged, known: known.sort() };
}

describe('the file of idempotency keys', () => {
  it('is read back whole', async () => {
    expect(await loaded()).toEqual({ damaged: [], known: KEYS });
  });

  it('keeps every line that can be read, wherever it is cut', async () => {
    const text = readFileSync(file, 'utf8');
    for (let length = 0; length < text.length; length += 1) {
      writeFileSync(file, text.slice(0, length));
      const { damaged, known } = await loaded();
      expectThat(known.length + damaged.length, `cut to ${length}`).toBe(
        text
          .slice(0, length)
          .split('\n')
          .filter((line) => line !== '').length,
      );
    }
  });

  it.each(['', '{', 'null', '[]', '["a"]', '["a",{"fingerprint":"x"},1]', '["a",{"fingerprint":"x","answer":{}},1]'])(
    'leaves out a line that became %j by its number',
    async (line) => {
      const lines = readFileSync(file, 'utf8').split('\n');
      lines[1] = line;
      writeFileSync(file, lines.join('\n'));
      const { damaged, known } = await loaded();
      expect(damaged).toEqual(line === '' ? [] : [2]);
      expect(known).toHaveLength(2);
      if (line !== '') expect(readFileSync(`${file}.damaged`, 'utf8')).toContain(line);
    },
  );
});
