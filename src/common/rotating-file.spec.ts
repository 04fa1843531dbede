import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { RotatingFile } from './rotating-file.js';

describe('RotatingFile', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(path.join(os.tmpdir(), 'miniodb-log-'));
  });
  afterEach(() => rmSync(directory, { recursive: true }));
  const read = (name: string): string => readFileSync(path.join(directory, name), 'utf8');
  const line = (number: number): string => `${String(number).padStart(9, '0')}\n`;

  it.each([0, 15])('keeps the newest lines in files of bounded size (blocks of %s bytes)', (blockBytes) => {
    const file = new RotatingFile({ file: path.join(directory, 'a.log'), bytesMax: 40, filesKept: 2, blockBytes });
    for (let number = 1; number <= 15; number += 1) file.write(line(number));
    file.close();
    expect(readdirSync(directory).sort()).toEqual(['a.log', 'a.log.1', 'a.log.2']);
    const lines = read('a.log.2') + read('a.log.1') + read('a.log');
    expect(lines).toBe(Array.from({ length: lines.length / 10 }, (_, index) => line(16 - lines.length / 10 + index)).join(''));
    expect(lines.length).toBeGreaterThanOrEqual(90);
    expect(file.linesLost).toBe(0);
  });

  it('goes on with a file that is there already', () => {
    const options = { file: path.join(directory, 'logs', 'a.log'), bytesMax: 25, filesKept: 1, blockBytes: 0 };
    for (let number = 1; number <= 3; number += 1) new RotatingFile(options).write(line(number));
    expect([read('logs/a.log.1'), read('logs/a.log')]).toEqual([line(1) + line(2), line(3)]);
  });

  (process.platform !== 'linux' ? it.skip : it)('loses lines, and nothing else, when the disk is full', () => {
    const file = new RotatingFile({ file: '/dev/full', bytesMax: 1_000_000, filesKept: 1, blockBytes: 0 });
    for (let number = 0; number < 10; number += 1) file.write(line(number));
    expect(file.linesLost).toBe(10);
  });
});
