import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import { DEFAULT_BULK_FIELDS, type Line, LINE_BYTES_MAX, readLines } from './bulk-lines.js';

const directory = mkdtempSync(path.join(tmpdir(), 'lines-'));
afterAll(() => rmSync(directory, { recursive: true }));

async function linesOf(text: string | Buffer): Promise<Line[]> {
  const file = path.join(directory, 'lines.ndjson');
  writeFileSync(file, text);
  const lines: Line[] = [];
  for await (const some of readLines({ file, originOf: (line) => line }, DEFAULT_BULK_FIELDS, 10)) lines.push(...some);
  return lines;
}

const numbersOf = (lines: readonly Line[]): unknown[] => lines.map((line) => ('record' in line ? line.record.line : line.refusal.line));

async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  let turns = 0;
  const turn = (): void => {
    turns += 1;
    turning = setImmediate(turn);
  };
  let turning = setImmediate(turn);
  await work();
  clearImmediate(turning);
  return turns;
}

async function msOf(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

describe('the lines of a bulk body', () => {
  it.each([
    ['', []],
    ['\n\r\n \t\n', []],
    ['{"id":"a"}', [1]],
    ['{"id":"a"}\n{"id":"b"}\n', [1, 2]],
    ['\n\n{"id":"a"}\r\n\r\n  {"id":"b"}  \n\n', [3, 5]],
    [`${'\n'.repeat(100_000)}{"id":"a"}`, [100_001]],
    [`{"id":"a","x":"${'x'.repeat(100_000)}"}\n\n{"id":"b"}`, [1, 3]],
    [`{"id":"a"}\n${' '.repeat(50_000)}\n{"id":"b"}`, [1, 3]],
  ])('keep their numbers: case %#', async (text, numbers) => {
    expect(numbersOf(await linesOf(text))).toEqual(numbers);
  });

  it('are the same wherever a piece of the file ends', async () => {
    const rows = Array.from({ length: 5_000 }, (_, index) => `{"id":"${index}","x":"${'é'.repeat(index % 90)}"}`);
    const lines = await linesOf(rows.join('\n\n'));
    expect(lines.map((line) => 'record' in line && line.record)).toEqual(
      rows.map((row, index) => {
        const { id, ...payload } = JSON.parse(row) as { id: string };
        return { id, timestamp: undefined, payload, line: 2 * index + 1 };
      }),
    );
  });

  it('have a longest one', async () => {
    const longest = (bytes: number): string => `{}\n{"x":"${'x'.repeat(bytes - 8)}"}`;
    expect(numbersOf(await linesOf(longest(LINE_BYTES_MAX)))).toEqual([1, 2]);
    await expect(linesOf(longest(LINE_BYTES_MAX + 1))).rejects.toThrow(/line 2 has more than 16777216 bytes/);
  });

  it.each([
    ['lines that are no JSON', 'x\n'],
    ['empty objects', '{}\n'],
  ])('give way to other work, however short they are: %s', async (_, line) => {
    const LINES = 50_000;
    expect(await turnsDuring(() => linesOf(line.repeat(LINES)))).toBeGreaterThan(LINES / 2_000);
  });

  it('cost less than rows of as many bytes when they are blank', async () => {
    const BYTES = 1_024 * 1_024;
    const row = '{"id":"a"}\n';
    const rows = await msOf(() => linesOf(row.repeat(BYTES / row.length)));
    expect(await msOf(() => linesOf('\n'.repeat(BYTES)))).toBeLessThan(rows);
  });
});
