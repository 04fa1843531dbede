import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rename, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { expectThat } from '../../../test/support/expectations.js';
import type { AppError } from '../../common/app-error.js';
import { encodeRecord, lastLsnOf, type WalRecord } from './wal-record.js';
import { SEGMENT_HEAD_BYTES } from './segment-head.js';
import { LogState } from './log-state.js';
import { WriteAheadLog } from './write-ahead-log.js';

if (process.env['SEED']) fc.configureGlobal({ seed: Number(process.env['SEED']) });

const MIB = 1_024 * 1_024;

let root: string;
let directory: string;
let directories = 0;
beforeAll(() => {
  root = mkdtempSync(path.join(tmpdir(), 'miniodb-wal-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
beforeEach(() => {
  directory = newDirectory();
});

function newDirectory(): string {
  directories += 1;
  return path.join(root, String(directories));
}

function record(firstLsn: number, lsnCount = 1, dataBytes = 20): WalRecord {
  return {
    kind: 'rows',
    firstLsn,
    lsnCount,
    meta: { tableId: 't' },
    data: Buffer.from(`{"n":"${String(firstLsn).padEnd(dataBytes, '.')}"}`),
  };
}

function openLog(at = directory, segmentBytes = MIB): Promise<WriteAheadLog> {
  return WriteAheadLog.open({ directory: at, segmentBytes, claimRange: () => Promise.resolve(0) });
}

async function replayed(log: WriteAheadLog): Promise<WalRecord[]> {
  const all: WalRecord[] = [];
  for await (const one of log.replay()) all.push(one);
  return all;
}

/** First LSNs of what a log in a directory gives back. */
async function storedIn(at: string): Promise<number[]> {
  const log = await openLog(at);
  const lsns = (await replayed(log)).map(({ firstLsn }) => firstLsn);
  await log.close();
  return lsns;
}

/** Writes groups, each with one fsync, as a log that is then closed. @returns the segments' files and, for each group, where it ends */
async function writeLog(groups: readonly (readonly WalRecord[])[], segmentBytes = MIB): Promise<{ segments: string[]; ends: number[] }> {
  const log = await openLog(directory, segmentBytes);
  const ends: number[] = [];
  for (const group of groups) {
    await log.append(group);
    ends.push(log.bytes);
  }
  await log.close();
  return { segments: await segmentsOf(directory), ends };
}

async function stateNameOf(at: string): Promise<string | undefined> {
  return (await readdir(at)).find((name) => name.endsWith('.state'));
}

async function putStateBack(at: string, before: string | undefined): Promise<void> {
  const now = await stateNameOf(at);
  if (now === undefined || now === before) return;
  if (before === undefined) rmSync(path.join(at, now));
  else await rename(path.join(at, now), path.join(at, before));
}

async function segmentsOf(at: string): Promise<string[]> {
  return (await readdir(at)).filter((name) => name.endsWith('.wal')).sort();
}

/** A log whose only segment has these bytes. */
async function logOf(name: string, bytes: Buffer): Promise<string> {
  const copy = newDirectory();
  await mkdir(copy);
  await copyFile(path.join(directory, 'id'), path.join(copy, 'id'));
  await writeFile(path.join(copy, name), bytes);
  return copy;
}

describe('write-ahead log', () => {
  it('gives back what was appended, in order, over restarts and segments', async () => {
    const { segments } = await writeLog([[record(1), record(2, 3)], [record(5)]], 100);
    expect(segments).toEqual(['00000000000000000001.wal', '00000000000000000005.wal']);
    const log = await openLog(directory, 100);
    expect(await replayed(log)).toEqual([record(1), record(2, 3), record(5)]);
    await log.append([record(6)]);
    await log.close();
    expect(await storedIn(directory)).toEqual([1, 2, 5, 6]);
  });

  it('keeps its id for as long as its directory lives', async () => {
    const first = await openLog();
    const second = await openLog();
    expect(second.id).toBe(first.id);
    expect((await openLog(newDirectory())).id).not.toBe(first.id);
  });

  it('counts the bytes of its segments', async () => {
    const { ends } = await writeLog([[record(1)], [record(2)], [record(3)]], 100);
    const log = await openLog();
    const sizes = await Promise.all((await segmentsOf(directory)).map(async (name) => (await readFile(path.join(directory, name))).length));
    expect(sizes.length).toBeGreaterThan(1);
    expect(log.bytes).toBe(sizes.reduce((sum, size) => sum + size, 0));
    expect(log.bytes).toBe(ends.at(-1));
  });

  it('writes a group of more records than one writev takes', async () => {
    const group = Array.from({ length: 1_500 }, (_value, index) => record(index + 1));
    await writeLog([group]);
    expect(await storedIn(directory)).toHaveLength(1_500);
  });
});

describe('write-ahead log after a crash', () => {
  it('cuts a last record that is torn at any byte, and goes on from there', async () => {
    const { segments, ends } = await writeLog([[record(1), record(2)], [record(3)]]);
    const [name = ''] = segments;
    const bytes = await readFile(path.join(directory, name));
    const [start = 0, end = 0] = ends;
    for (let length = start; length < end; length += 1) {
      const copy = await logOf(name, bytes.subarray(0, length));
      const log = await openLog(copy);
      expectThat(
        (await replayed(log)).map(({ firstLsn }) => firstLsn),
        `torn after ${length - start} bytes`,
      ).toEqual([1, 2]);
      await log.append([record(3)]);
      await log.close();
      expectThat(await storedIn(copy), `after ${length - start} bytes and one more write`).toEqual([1, 2, 3]);
    }
  });

  it('cuts a last group whose bytes became zeros at any byte', async () => {
    const { segments, ends } = await writeLog([[record(1)], [record(2), record(3)]]);
    const [name = ''] = segments;
    const [start = 0, end = 0] = ends;
    for (let from = start; from < end - 1; from += 7) {
      const bytes = await readFile(path.join(directory, name));
      bytes.fill(0, from);
      expectThat((await storedIn(await logOf(name, bytes)))[0], `zeros from byte ${from - start}`).toBe(1);
    }
  });

  it('starts over in a segment of which only a part of the head was written', async () => {
    const { segments } = await writeLog([[record(1)]]);
    const [name = ''] = segments;
    const bytes = await readFile(path.join(directory, name));
    for (let length = 0; length <= SEGMENT_HEAD_BYTES; length += 11) {
      const copy = await logOf(name, bytes.subarray(0, length));
      const log = await openLog(copy);
      expect(await replayed(log)).toEqual([]);
      await log.append([record(1)]);
      await log.close();
      expectThat(await storedIn(copy), `${length} bytes of the head`).toEqual([1]);
    }
  });

  it('refuses damage in any byte of a group that a later one follows, naming segment and offset', async () => {
    const { segments, ends } = await writeLog([[record(1), record(2)], [record(3)]]);
    const [name = ''] = segments;
    const bytes = await readFile(path.join(directory, name));
    const secondRecord = SEGMENT_HEAD_BYTES + ((ends[0] ?? 0) - SEGMENT_HEAD_BYTES) / 2;
    for (let offset = SEGMENT_HEAD_BYTES; offset < (ends[0] ?? 0); offset += 1) {
      const damaged = Buffer.from(bytes);
      damaged.writeUInt8((bytes[offset] ?? 0) ^ (offset % 2 === 0 ? 0x01 : 0xff), offset);
      const copy = await logOf(name, damaged);
      await expectThat(storedIn(copy), `byte ${offset}`).rejects.toMatchObject({
        code: 'DATA_CORRUPTION',
        message: expect.stringContaining(
          `${path.join(copy, name)} at offset ${offset < secondRecord ? SEGMENT_HEAD_BYTES : secondRecord}:`,
        ),
      });
      expectThat(await readFile(path.join(copy, name)), 'the evidence stays').toEqual(damaged);
    }
  });

  it('refuses damage in any byte of a segment that is not the last, also cut or emptied', async () => {
    const { segments } = await writeLog([[record(1)], [record(2)]], 100);
    const [name = ''] = segments;
    const file = path.join(directory, name);
    const bytes = await readFile(file);
    for (let offset = 0; offset < bytes.length; offset += 1) {
      const damaged = Buffer.from(bytes);
      damaged.writeUInt8((bytes[offset] ?? 0) ^ 0x01, offset);
      await writeFile(file, damaged);
      await expectThat(storedIn(directory), `byte ${offset}`).rejects.toMatchObject({
        code: 'DATA_CORRUPTION',
        message: expect.stringContaining(`${file} at offset `),
      });
    }
    for (const length of [0, 20, SEGMENT_HEAD_BYTES + 5, bytes.length - 1]) {
      await writeFile(file, bytes.subarray(0, length));
      await expectThat(storedIn(directory), `cut to ${length} bytes`).rejects.toMatchObject({ code: 'DATA_CORRUPTION' });
    }
  });

  it('refuses damage in the last group when all its bytes are there', async () => {
    const { segments, ends } = await writeLog([[record(1)], [record(2)]]);
    const [name = ''] = segments;
    const bytes = await readFile(path.join(directory, name));
    const [start = 0, end = 0] = ends;
    for (let offset = start; offset < end; offset += 1) {
      // A changed length looks like a record that is cut: nothing can tell the two apart.
      if (offset >= start + 4 && offset < start + 8) continue;
      const damaged = Buffer.from(bytes);
      damaged.writeUInt8((bytes[offset] ?? 0) ^ 0x01, offset);
      await expectThat(storedIn(await logOf(name, damaged)), `byte ${offset}`).rejects.toMatchObject({ code: 'DATA_CORRUPTION' });
    }
  });

  it('refuses segments of another log, and segments whose id is lost', async () => {
    const { segments } = await writeLog([[record(1)]]);
    const other = newDirectory();
    await openLog(other);
    await copyFile(path.join(directory, segments[0] ?? ''), path.join(other, segments[0] ?? ''));
    await expect(storedIn(other)).rejects.toMatchObject({ code: 'DATA_CORRUPTION' });
    rmSync(path.join(directory, 'id'));
    await expect(openLog()).rejects.toMatchObject({ code: 'DATA_CORRUPTION' });
  });
});

describe('a write-ahead log with a segment missing', () => {
  const NAMES = [1, 3, 6].map((lsn) => `${String(lsn).padStart(20, '0')}.wal`);

  /** Three segments: LSN 1 to 2, 3 to 5, 6. */
  async function threeSegments(): Promise<void> {
    const { segments } = await writeLog([[record(1, 2)], [record(3, 3)], [record(6)]], 100);
    expect(segments).toEqual(NAMES);
  }

  /** @returns what the start says, after which the command in it was typed */
  async function refusedThenGivenUp(): Promise<string> {
    const message = await storedIn(directory).then(
      () => 'it started',
      (error: AppError) => `${error.code}: ${error.message}`,
    );
    const command = /with: (.*)$/.exec(message)?.[1] ?? '';
    execFileSync('sh', ['-c', command]);
    return message;
  }

  it.each([
    ['first', 0, 'LSN 1 to 2', [3, 6]],
    ['middle', 1, 'LSN 3 to 5', [1, 6]],
    ['last', 2, 'LSN 6 to 6', [1, 3]],
  ])('refuses the start without its %s segment by the LSNs, until they are given up', async (_which, index, lsns, left) => {
    await threeSegments();
    rmSync(path.join(directory, NAMES[index] ?? ''));
    expect(await refusedThenGivenUp()).toMatch(new RegExp(`^DATA_CORRUPTION: .*lacks ${lsns}: .*${NAMES[index]}`));
    expect(await storedIn(directory)).toEqual(left);
    const log = await openLog(directory, 100);
    await replayed(log);
    await log.append([record(7)]);
    await log.append([record(8)]);
    await log.close();
    expectThat(await storedIn(directory), 'and it goes on').toEqual([...left, 7, 8]);
    rmSync(path.join(directory, `${String(7).padStart(20, '0')}.wal`));
    await expectThat(storedIn(directory), 'what is missing later is missed again').rejects.toMatchObject({ code: 'DATA_CORRUPTION' });
  });

  it.each([0, 1, 2])('refuses the start when segment %i is emptied or loses its head, until it is put aside', async (index) => {
    await threeSegments();
    for (const length of [0, 20]) {
      const file = path.join(directory, NAMES[index] ?? '');
      await truncate(file, length);
      await expectThat(storedIn(directory), `${length} bytes`).rejects.toMatchObject({ code: 'DATA_CORRUPTION' });
    }
    expect(await refusedThenGivenUp()).toContain(NAMES[index]);
    expect(await storedIn(directory)).toEqual([1, 3, 6].filter((_lsn, at) => at !== index));
  });

  it('goes on without the rest of a damaged segment that is given up', async () => {
    const log = await openLog(directory, 300);
    for (const lsn of [1, 2, 3, 4, 5, 6]) await log.append([record(lsn)]);
    await log.close();
    const [first = '', ...later] = await segmentsOf(directory);
    expect(later.length).toBeGreaterThan(0);
    const bytes = await readFile(path.join(directory, first));
    bytes.writeUInt8(bytes.readUInt8(bytes.length - 3) ^ 1, bytes.length - 3);
    await writeFile(path.join(directory, first), bytes);
    expect(await refusedThenGivenUp()).toContain('truncate -s');
    const lost = Number.parseInt(later[0] ?? '', 10) - 1;
    expect(await storedIn(directory)).toEqual([1, 2, 3, 4, 5, 6].filter((lsn) => lsn !== lost));
  });

  it('writes its id anew with the command that it gives', async () => {
    await threeSegments();
    rmSync(path.join(directory, 'id'));
    expect(await refusedThenGivenUp()).toContain('the id of the log is missing');
    expect(await storedIn(directory)).toEqual([1, 3, 6]);
  });

  it('knows what it trimmed itself, also when a crash came in between', async () => {
    await threeSegments();
    const log = await openLog(directory, 100);
    await replayed(log);
    const [first = ''] = NAMES;
    await copyFile(path.join(directory, first), path.join(root, 'kept'));
    await log.trim(5);
    await log.close();
    expect(await storedIn(directory)).toEqual([6]);
    // The note is durable before the first segment goes: any of them may still be there.
    await copyFile(path.join(root, 'kept'), path.join(directory, first));
    expect(await storedIn(directory)).toEqual([1, 6]);
  });

  it('knows a segment that it trimmed while the next one was being begun', async () => {
    await writeLog([[record(1)], [record(2)]], 1);
    const log = await openLog(directory, 1);
    await replayed(log);
    await log.trim(2);
    await log.close();
    // The crash came after the next segment was made and before it was noted.
    const [state = ''] = (await readdir(directory)).filter((name) => name.endsWith('.state'));
    await rename(path.join(directory, state), path.join(directory, `${'1'.padStart(20, '0')}-${'1'.padStart(20, '0')}.state`));
    await truncate(path.join(directory, `${'2'.padStart(20, '0')}.wal`), SEGMENT_HEAD_BYTES);
    expect(await storedIn(directory)).toEqual([]);
    const again = await openLog(directory, 1);
    await replayed(again);
    await again.append([record(2)]);
    await again.close();
    expect(await storedIn(directory)).toEqual([2]);
  });

  it('does not miss numbers that were never given out', async () => {
    await writeLog([[record(1)], [record(50)], [record(100)]], 100);
    expect(await storedIn(directory)).toEqual([1, 50, 100]);
    rmSync(path.join(directory, `${String(50).padStart(20, '0')}.wal`));
    await expect(storedIn(directory)).rejects.toMatchObject({ message: expect.stringContaining('lacks LSN 2 to 50') });
  });

  it('says how far the tables are when it ends before what they hold, until that is given up', async () => {
    await threeSegments();
    const reached = async (lsn: number): Promise<void> => {
      const log = await openLog();
      await replayed(log);
      log.assertReaches(lsn, 'orders');
    };
    await reached(6);
    const error = (await reached(9).catch((thrown: unknown) => thrown)) as AppError;
    expect(error.message).toMatch(/lacks LSN 7 to 9: .*table orders hold .* LSN 9/);
    execFileSync('sh', ['-c', /with: (.*)$/.exec(error.message)?.[1] ?? '']);
    await reached(9);
  });

  it('reads segments of format 1, of which it cannot know what stood before them', async () => {
    await openLog();
    const [id = ''] = (await readFile(path.join(directory, 'id'), 'latin1')).split('\n');
    const head = Buffer.from(`MDBWAL01${id}`, 'latin1');
    const segment = (lsn: number): Promise<void> =>
      writeFile(
        path.join(directory, `${String(lsn).padStart(20, '0')}.wal`),
        Buffer.concat([head, ...encodeRecord(record(lsn), head.length)]),
      );
    await segment(41);
    await segment(50);
    const log = await openLog();
    expect((await replayed(log)).map(({ firstLsn }) => firstLsn)).toEqual([41, 50]);
    await log.append([record(51)]);
    await log.trim(50);
    await log.append([record(52)]);
    await log.close();
    expect(await storedIn(directory)).toEqual([51, 52]);
  });
});

describe('write-ahead log on a full disk', () => {
  it('refuses a write for which it cannot begin a segment, and goes on when it can', async () => {
    const log = await openLog();
    symlinkSync('/dev/full', path.join(directory, '00000000000000000001.wal'));
    await expect(log.append([record(1)])).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringContaining('the disk is full'),
    });
    await log.append([record(1)]);
    await log.close();
    expect(await storedIn(directory)).toEqual([1]);
  });

  it('takes back a write of which only a part found room, and goes on when there is some', async () => {
    const log = await openLog();
    await log.append([record(1)]);
    const { bytes } = log;
    await withFileSizeMax(bytes + 50, () => expect(log.append([record(2), record(3)])).rejects.toMatchObject({ code: 'UNAVAILABLE' }));
    expect(log.bytes).toBe(bytes);
    await log.append([record(2), record(3)]);
    await log.append([record(4)]);
    await log.close();
    expect(await storedIn(directory)).toEqual([1, 2, 3, 4]);
  });

  it('keeps the writes that come after a failed one into a new segment, also when it trims', async () => {
    const log = await openLog();
    await withFileSizeMax(SEGMENT_HEAD_BYTES + 10, () => expect(log.append([record(1)])).rejects.toMatchObject({ code: 'UNAVAILABLE' }));
    await log.append([record(1)]);
    await log.trim(0);
    await log.append([record(2)]);
    await log.close();
    expect(await storedIn(directory)).toEqual([1, 2]);
  });
});

/** Runs `task` while no file of this process can grow past a size: a disk without room, as far as `write` can tell. */
async function withFileSizeMax(bytes: number, task: () => Promise<unknown>): Promise<void> {
  const limit = (value: number | 'unlimited'): void =>
    void execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${value}:unlimited`]);
  limit(bytes);
  try {
    await task();
  } finally {
    limit('unlimited');
  }
}

describe('trimming the write-ahead log', () => {
  it('removes the segments whose every LSN is stored, and keeps the newest', async () => {
    const log = await openLog(directory, 100);
    for (const lsn of [1, 3, 5]) await log.append([record(lsn, 2)]);
    expect(log.segmentCount).toBe(3);
    await log.trim(1);
    expect(log.segmentCount).toBe(3);
    await log.trim(2);
    expect(log.segmentCount).toBe(2);
    await log.trim(100);
    expect(log.segmentCount).toBe(1);
    await log.close();
    expect(await storedIn(directory)).toEqual([5]);
  });

  it('keeps what was written after a restart that found an empty segment', async () => {
    const { segments } = await writeLog([[record(1)]]);
    await truncate(path.join(directory, segments[0] ?? ''), SEGMENT_HEAD_BYTES);
    const log = await openLog();
    await replayed(log);
    await log.append([record(1)]);
    await log.trim(0);
    await log.close();
    expect(await storedIn(directory)).toEqual([1]);
  });

  it('is the same when several flushes ask for it at once, the later ones for less', async () => {
    const log = await openLog(directory, 100);
    for (const lsn of [1, 3, 5, 7]) await log.append([record(lsn, 2)]);
    await Promise.all([log.trim(6), log.trim(2), log.trim(4)]);
    expect(log.segmentCount).toBe(1);
    const name = await stateNameOf(directory);
    await log.append([record(9, 2)]);
    await log.close();
    // A crash before the new segment was noted: the state is still the one from after the trims.
    await putStateBack(directory, name);
    expect(await segmentsOf(directory)).toHaveLength(2);
    expect(await storedIn(directory)).toEqual([7, 9]);
    expect((await LogState.read(directory)).trimmedLsn).toBe(6);
  });

  it('notes what is trimmed and what is begun at once', async () => {
    await mkdir(directory);
    const state = await LogState.read(directory);
    const changes = Array.from({ length: 20 }, (_, index) => [state.note({ newestLsn: index + 2 }), state.note({ trimmedLsn: index + 1 })]);
    await Promise.all(changes.flat());
    const { trimmedLsn, newestLsn } = await LogState.read(directory);
    expect({ trimmedLsn, newestLsn }).toEqual({ trimmedLsn: 20, newestLsn: 21 });
  });

  it('never removes what is still needed, whatever was written, torn, trimmed and restarted', async () => {
    const counts = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 4 });
    const steps = fc.array(
      fc.oneof(
        { weight: 4, arbitrary: fc.record({ step: fc.constant('append' as const), counts }) },
        { weight: 2, arbitrary: fc.record({ step: fc.constant('trim' as const), percent: fc.integer({ min: 0, max: 100 }) }) },
        {
          weight: 2,
          arbitrary: fc.record({ step: fc.constant('crash while writing' as const), counts, percent: fc.integer({ min: 0, max: 100 }) }),
        },
      ),
      { minLength: 1, maxLength: 12 },
    );
    await fc.assert(
      fc.asyncProperty(steps, async (sequence) => {
        const run = await LogRun.start(newDirectory());
        for (const one of sequence) {
          if (one.step === 'append') await run.append(one.counts);
          else if (one.step === 'trim') await run.trim(one.percent / 100);
          else await run.crashWhileWriting(one.counts, one.percent / 100);
        }
        await run.restart();
      }),
      { numRuns: 25 },
    );
  });
});

/** A log beside the list of what it must still have. */
class LogRun {
  #needed: WalRecord[] = [];
  #lastLsn = 0;
  #storedLsn = 0;

  private constructor(
    private readonly at: string,
    private log: WriteAheadLog,
  ) {}

  static async start(at: string): Promise<LogRun> {
    return new LogRun(at, await openLog(at, 150));
  }

  async append(counts: readonly number[]): Promise<void> {
    const group = this.#group(counts);
    await this.log.append(group);
    this.#needed.push(...group);
  }

  #group(counts: readonly number[]): WalRecord[] {
    return counts.map((count) => {
      const next = record(this.#lastLsn + 1, count);
      this.#lastLsn += count;
      return next;
    });
  }

  async trim(share: number): Promise<void> {
    const stored = Math.floor(this.#lastLsn * share);
    await this.log.trim(stored);
    this.#storedLsn = Math.max(this.#storedLsn, stored);
    this.#needed = this.#needed.filter((one) => lastLsnOf(one) > stored);
  }

  /** The power goes while a group is written of which nobody was told yet: the first part of it is on disk. */
  async crashWhileWriting(counts: readonly number[], share: number): Promise<void> {
    const before = await this.#lastSegment();
    const stateBefore = await stateNameOf(this.at);
    await this.log.append(this.#group(counts));
    const after = await this.#lastSegment();
    const kept = after.name === before.name ? before.bytes : 0;
    const bytes = kept + Math.floor((after.bytes - kept) * share);
    await truncate(path.join(this.at, after.name), bytes);
    // The log notes that a segment was begun once its head is synced.
    if (bytes < SEGMENT_HEAD_BYTES) await putStateBack(this.at, stateBefore);
    await this.restart();
  }

  async #lastSegment(): Promise<{ name: string; bytes: number }> {
    const name = (await segmentsOf(this.at)).at(-1);
    return name === undefined ? { name: '', bytes: 0 } : { name, bytes: (await readFile(path.join(this.at, name))).length };
  }

  async restart(): Promise<void> {
    await this.log.close();
    this.log = await openLog(this.at, 150);
    const stored = await replayed(this.log);
    const lsns = stored.map(({ firstLsn }) => firstLsn);
    expect(lsns).toEqual(expect.arrayContaining(this.#needed.map(({ firstLsn }) => firstLsn)));
    expect(lsns).toEqual([...lsns].sort((a, b) => a - b));
    // As the write path does: after the last record, or after what the tables hold.
    this.#lastLsn = Math.max(this.#storedLsn, ...stored.map(lastLsnOf));
  }
}
