import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import { hasNestedKeysOnce } from './nested-keys.js';

const directory = mkdtempSync(path.join(tmpdir(), 'nested-'));
afterAll(() => rmSync(directory, { recursive: true }));

function isOnce(text: string): Promise<boolean> {
  const file = path.join(directory, 'rows.ndjson');
  writeFileSync(file, text);
  return hasNestedKeysOnce(file);
}

describe('nested keys', () => {
  it.each([
    '{"x":{"a":1,"b":[{"c":1},{"c":2}]},"y":{"a":{"a":{"a":null}}}}\n{"x":{"a":1}}\n',
    '{"x":{"text":"a\\"k\\":1,","k":":"},"y":["k",":","k"]}',
    '{"x":[0,-7,1.5,10.0,12345678901234567890,0.30000000000000004,-0.000001],"y":1.10}',
    '{"x":1e5,"y":19.90}',
    `{"x":{"text":"${'x'.repeat(70_000)}","y":1.5}}`,
    `{"x":${'['.repeat(900)}${']'.repeat(900)}}`,
  ])('are there once: case %#', async (text) => {
    expect(await isOnce(text)).toBe(true);
  });

  it.each([
    '{"x":{"k":1,"k":2}}',
    '{"x":{"k":1,"l":{"k":3},"m":[{"k":1}],"k":2}}',
    '{"x":[{"a":1},{"a":1,"b":{"c":[{"d":1,"d":1}]}}]}',
    '{"x":{"k":1,"\\u006b":2}}',
    `{"x":{"y":"${'x'.repeat(65_520)}","y":1}}`,
    `{"x":${'['.repeat(100_000)}${']'.repeat(100_000)}}`,
  ])('may be there twice: case %#', async (text) => {
    expect(await isOnce(text)).toBe(false);
  });
});
