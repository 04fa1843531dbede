import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import { areNestedValuesKept } from './nested-values.js';

const directory = mkdtempSync(path.join(tmpdir(), 'nested-'));
afterAll(() => rmSync(directory, { recursive: true }));

function isKept(text: string): Promise<boolean> {
  const file = path.join(directory, 'rows.ndjson');
  writeFileSync(file, text);
  return areNestedValuesKept(file);
}

describe('nested values', () => {
  it.each([
    '{"x":{"a":1,"b":[{"c":1},{"c":2}]},"y":{"a":{"a":{"a":null}}}}\n{"x":{"a":1}}\n',
    '{"x":{"text":"a\\"k\\":1,","k":":"},"y":["k",":","k"]}',
    '{"x":[0,-7,1.5,10.0,12345678901234567890,0.30000000000000004,-0.000001],"y":1.10}',
    '{"x":1e5,"y":19.90}',
    `{"x":{"text":"${'x'.repeat(70_000)}","y":1.5}}`,
    `{"x":${'['.repeat(900)}${']'.repeat(900)}}`,
  ])('are kept: case %#', async (text) => {
    expect(await isKept(text)).toBe(true);
  });

  it.each([
    '{"x":{"k":1,"k":2}}',
    '{"x":{"k":1,"l":{"k":3},"m":[{"k":1}],"k":2}}',
    '{"x":[{"a":1},{"a":1,"b":{"c":[{"d":1,"d":1}]}}]}',
    '{"x":{"k":1,"\\u006b":2}}',
    '{"x":[19.90]}',
    '{"x":[1e5]}',
    '{"x":{"y":1.10000000000000000001}}',
    '{"x":{"y":1e-400}}',
    `{"x":{"text":"${'x'.repeat(65_520)}","y":1.50}}`,
    `{"x":${'['.repeat(100_000)}${']'.repeat(100_000)}}`,
  ])('may not be kept: case %#', async (text) => {
    expect(await isKept(text)).toBe(false);
  });
});
