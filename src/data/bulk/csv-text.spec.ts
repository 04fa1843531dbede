import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';
import { checkCsvText, type LineEnds } from './csv-text.js';

const directory = mkdtempSync(path.join(tmpdir(), 'csv-'));
afterAll(() => rmSync(directory, { recursive: true }));

function check(text: string): Promise<LineEnds> {
  const file = path.join(directory, 'rows.csv');
  writeFileSync(file, text);
  return checkCsvText(file, ',');
}

describe('the text of a CSV', () => {
  it.each([
    ['id,x\na, "hello"\n', 2],
    ['id, "x"\na,1\n', 1],
    [' "id",x\na,1\n', 1],
    ['"id" ,x\na,1\n', 1],
    ['id,x\na,"hello" \n', 2],
    ['id,x\r\na,"two\r\nlines"\r\nb,  "c"\r\n', 4],
    [`id,x\n${`a,"${'x'.repeat(99)}"\n`.repeat(2_000)}a, "b"`, 2_002],
  ])('has no space beside quotes: case %#', async (text, line) => {
    await expect(check(text)).rejects.toThrow(`line ${line} of the CSV has a space beside the quotes`);
  });

  it.each([
    ['id,x\na," hello "\n', { lf: 1, crlf: undefined }],
    ['id,x\na, hello \n', { lf: 1, crlf: undefined }],
    ['id,x\na,say "hi" to\n', { lf: 1, crlf: undefined }],
    ['id,x\na,"say ""hi"" , ""you"" "\n', { lf: 1, crlf: undefined }],
    ['id,x\na,""\nb,""""\n', { lf: 1, crlf: undefined }],
    ['id,x\r\na,"two\nlines"\r\n', { lf: undefined, crlf: 1 }],
    ['id,x\na,1\r\n', { lf: 1, crlf: 2 }],
    ['', { lf: undefined, crlf: undefined }],
  ])('may have spaces elsewhere, and tells how its lines end: case %#', async (text, ends) => {
    expect(await check(text)).toEqual(ends);
  });
});
