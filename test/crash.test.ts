/**
 * Kills the server with SIGKILL a hundred times while clients write, delete, restore, flush, compact and drop, and looks after every
 * restart whether each acknowledged row is there exactly once (invariants W1, W2, W3, R2).
 *
 * About half of the kills come from the fault points, instants between two steps of a commit that a random kill seldom meets; the others
 * are random. CRASH_KILLS sets how many, CRASH_STAGES of which stages the fault points are (`flush compaction`; all of them if not set); SEED
 * repeats the decisions (not the timing) of a run.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { CrashScenario, faultPointsOf, planKills } from './support/crash-scenario.js';
import { DataClient } from './support/data-client.js';
import { expectSoon, expectThat } from './support/expectations.js';
import { type ClientRecord, bigint, payloadOf, varchar } from './support/payload-value.js';
import { expectSuccess } from './support/requests.js';
import { SeededRandom, seedOfThisRun } from './support/seeded-random.js';
import { type RunningServer, call, startServer, temporaryDirectory } from './support/server.js';
import { queryRows } from './support/table-reader.js';
import { addEmptySegment, appendBytes, cutBytes, flipByte, recordsOf, segmentHead, walSegments } from './support/wal-files.js';

const KILLS = Number(process.env['CRASH_KILLS'] ?? 100);
const POINTS = faultPointsOf(process.env['CRASH_STAGES']);
const FAULT_SHARE = 0.57;
/** Further lives for a point that no life has reached yet, before the test calls it unreachable. */
const EXTRA_ATTEMPTS = 3;
const TEST_MS_MAX = 1_800_000;
const MANY_STARTS_MS_MAX = 600_000;

describe('a server killed at any instant', () => {
  it(
    `loses and doubles nothing that it acknowledged, ${KILLS} kills`,
    async () => {
      const seed = seedOfThisRun();
      console.log(`crash test: SEED=${seed} CRASH_KILLS=${KILLS}`);
      const scenario = new CrashScenario(seed, POINTS);
      await scenario.createTables();
      for (const planned of planKills(KILLS, FAULT_SHARE, POINTS, new SeededRandom(seed))) await scenario.liveAndDie(planned);
      for (let attempt = 0; attempt < EXTRA_ATTEMPTS; attempt += 1) {
        for (const point of scenario.pointsNotReached) await scenario.liveAndDie({ kind: 'fault', point, nth: 1, isAgain: true });
      }
      await scenario.verifyToTheEnd();

      const { kills, run, lost, doubled } = scenario;
      console.log(
        `crash test: ${scenario.killCount} kills (${scenario.faultKills} at fault points, ${kills.atRandom} at random instants, ` +
          `${kills.insteadOfPoint} at random because the armed point was not reached in time), ` +
          `${run.acknowledged} acknowledged operations, lost ${lost}, doubled ${doubled}, SEED=${seed}`,
      );
      expectThat(scenario.pointsNotReached, `fault points that no life reached, SEED=${seed}`).toEqual([]);
      expect({ lost, doubled }).toEqual({ lost: 0, doubled: 0 });
    },
    TEST_MS_MAX,
  );
});

describe('a damaged write-ahead log', () => {
  const TABLE = 'wal_rows';
  /** Nothing leaves the log, and each segment holds some tens of records. */
  const CONFIG = {
    log: { level: 'warn', file: '' },
    wal: { segment_bytes: 65_536 },
    tables: { buffer_size: 1_000_000, flush_interval_seconds: 3_600 },
  };
  let dataDir: string;
  let server: RunningServer | undefined;
  let acknowledged: number;
  let lastLsn: number;

  beforeEach(() => {
    dataDir = temporaryDirectory('wal');
    acknowledged = 0;
  });

  afterEach(async () => {
    await server?.kill();
    server = undefined;
  });

  it('cuts what a torn write left at its end, and keeps everything acknowledged', async () => {
    await start();
    await write(5);
    await kill();
    const pattern = lastRecordBytes();
    const tornWrites: Uint8Array[] = [
      pattern.subarray(0, 1),
      pattern.subarray(0, 11),
      pattern.subarray(0, 12),
      pattern.subarray(0, pattern.length / 2),
      pattern.subarray(0, pattern.length - 1),
      // Room that the file system gave to the file, whose bytes never came: all of a record, or its second half.
      new Uint8Array(4_096),
      Buffer.concat([pattern.subarray(0, pattern.length / 2), Buffer.alloc(pattern.length - Math.floor(pattern.length / 2))]),
    ];
    for (const torn of tornWrites) {
      appendBytes(lastSegment(), torn);
      await start();
      await expectAllRows();
      await write(2);
      await kill();
    }
    await start();
    await expectAllRows();
  });

  it('goes on after a segment that was started and got no record', async () => {
    await start();
    await write(3);
    await kill();
    addEmptySegment(dataDir, lastLsn + 1, segmentHead(lastSegment()));
    await start();
    await write(3);
    // The flush trims the log up to here; what comes after it must still have a segment.
    expectSuccess(await new DataClient(running()).maintain(TABLE, 'flush'), 'flush');
    await write(3);
    await kill();
    await start();
    await expectAllRows();
  });

  it('goes on after a segment whose end is torn in the middle of its head', async () => {
    await start();
    await write(3);
    await kill();
    addEmptySegment(dataDir, lastLsn + 1, segmentHead(lastSegment()).subarray(0, 7));
    await start();
    await write(3);
    await kill();
    await start();
    await expectAllRows();
  });

  it(
    'refuses the start when a record in the middle is damaged, wherever it is, naming segment and offset',
    async () => {
      await start();
      await write(20);
      await kill();
      const segment = lastSegment();
      const records = recordsOf(segment);
      const record = records[Math.floor(records.length / 2)];
      if (!record) throw new Error('the log holds no record');
      const places = {
        'the magic number': record.start,
        'the length': record.start + 4,
        'the high byte of the length': record.start + 7,
        'the checksum': record.start + 8,
        'the payload': Math.floor((record.start + record.end) / 2),
        'the last byte': record.end - 1,
      };
      for (const [what, place] of Object.entries(places)) {
        flipByte(segment, place);
        await expectRefusedStart(segment, record.start, what);
        flipByte(segment, place);
      }
      await start();
      await expectAllRows();
    },
    MANY_STARTS_MS_MAX,
  );

  it('refuses the start when an earlier segment is damaged or cut short', async () => {
    await start();
    await write(5);
    await kill();
    await start();
    await write(5);
    await kill();
    const [first] = walSegments(dataDir);
    expect(walSegments(dataDir).length).toBeGreaterThan(1);
    if (first === undefined) throw new Error('the log has no segment');
    const last = recordsOf(first).at(-1);
    if (!last) throw new Error('the segment has no record');
    flipByte(first, last.end - 1);
    await expectRefusedStart(first, last.start);
    flipByte(first, last.end - 1);
    cutBytes(first, 1);
    await expectRefusedStart(first, last.start);
  });

  it(
    'refuses the start without its first, middle or last segment, and starts with the command that the message has',
    async () => {
      for (let life = 0; life < 3; life += 1) {
        await start();
        await write(5);
        await kill();
      }
      const [whole, rowsOfAll] = [temporaryDirectory('wal'), acknowledged];
      cpSync(dataDir, whole, { recursive: true, filter: (file) => path.basename(file) !== 'lock' });
      for (const index of [0, 1, -1]) {
        // In its place: on a bucket, another directory has another bucket.
        rmSync(dataDir, { recursive: true });
        cpSync(whole, dataDir, { recursive: true });
        const segment = walSegments(dataDir).at(index) ?? '';
        const rows = recordsOf(segment).length;
        rmSync(segment);
        const message = await refusal();
        expectThat(message, segment).toContain('DATA_CORRUPTION');
        expectThat(message, segment).toContain(path.basename(segment));
        expectThat(message, segment).toMatch(/lacks LSN \d+ to \d+/);
        execFileSync('sh', ['-c', /with: (touch [^\s"]+)/.exec(message)?.[1] ?? '']);
        await start();
        acknowledged = rowsOfAll - rows;
        await expectAllRows();
        await kill();
        await start();
        await expectAllRows();
        await kill();
      }
    },
    MANY_STARTS_MS_MAX,
  );

  it('refuses the start when its last segment is emptied', async () => {
    await start();
    await write(5);
    await kill();
    truncateSync(lastSegment(), 0);
    await expectRefusedStart(lastSegment(), 0);
  });

  it('starts after a flush has trimmed its segments', async () => {
    for (let life = 0; life < 3; life += 1) {
      await start();
      await write(3);
      if (life < 2) await kill();
    }
    expectSuccess(await new DataClient(running()).maintain(TABLE, 'flush'), 'flush');
    expect(walSegments(dataDir)).toHaveLength(1);
    await kill();
    await start();
    await expectAllRows();
  });

  it('refuses the start when the last acknowledged record is damaged, instead of taking it for a torn one', async () => {
    await start();
    await write(5);
    await kill();
    const segment = lastSegment();
    const last = recordsOf(segment).at(-1);
    if (!last) throw new Error('the segment has no record');
    flipByte(segment, Math.floor((last.start + last.end) / 2));
    await expectRefusedStart(segment, last.start);
  });

  function running(): RunningServer {
    if (!server) throw new Error('the server is not running');
    return server;
  }

  async function start(): Promise<void> {
    server = await startServer({ dataDir, config: CONFIG });
  }

  async function kill(): Promise<void> {
    await running().kill();
    server = undefined;
  }

  /** One request, and so one fsync and one record, a row. */
  async function write(rows: number): Promise<void> {
    const client = new DataClient(running());
    for (let row = 0; row < rows; row += 1) {
      const answer = expectSuccess(await client.write(TABLE, rowNumber(acknowledged)), 'write');
      lastLsn = Number(answer.json.lsn);
      acknowledged += 1;
    }
  }

  async function expectAllRows(): Promise<void> {
    const [counts] = await queryRows(running(), `SELECT COUNT(*) AS row_total, COUNT(DISTINCT id) AS id_total FROM ${TABLE}`);
    expect([String(counts?.['row_total']), String(counts?.['id_total'])]).toEqual([String(acknowledged), String(acknowledged)]);
  }

  function refusal(): Promise<string> {
    return startServer({ dataDir, config: CONFIG }).then(
      async (started) => {
        await started.kill();
        return 'the server started';
      },
      (error: Error) => error.message,
    );
  }

  async function expectRefusedStart(segment: string, offset: number, what = 'damage'): Promise<void> {
    const message = await refusal();
    expectThat(message, what).toContain('DATA_CORRUPTION');
    expectThat(message, what).toContain(path.basename(segment));
    expectThat(message, what).toMatch(new RegExp(`offset ${offset}\\b`));
  }

  function lastSegment(): string {
    const last = walSegments(dataDir).at(-1);
    if (last === undefined) throw new Error('the log has no segment');
    return last;
  }

  function lastRecordBytes(): Buffer {
    const segment = lastSegment();
    const last = recordsOf(segment).at(-1);
    if (!last) throw new Error('the segment has no record');
    return readFileSync(segment).subarray(last.start, last.end);
  }
});

describe('what only the log knows', () => {
  it('brings back a restored row after a compaction and a kill, though no flush has seen the restore', async () => {
    const config = {
      log: { level: 'warn', file: '' },
      tables: { buffer_size: 1_000_000, flush_interval_seconds: 3_600 },
      maintenance: { interval_seconds: 2, compaction_files_min: 2 },
    };
    const dataDir = temporaryDirectory('restore');
    let server = await startServer({ dataDir, config });
    try {
      const client = new DataClient(server);
      expectSuccess(await client.writeBatch('notes', [rowNumber(0), rowNumber(1)]), 'write');
      expectSuccess(await client.maintain('notes', 'flush'), 'flush');
      expectSuccess(await client.delete('notes', ['row-0'], true), 'delete');
      expectSuccess(await client.writeBatch('notes', [rowNumber(2), rowNumber(3)]), 'write');
      expectSuccess(await client.maintain('notes', 'flush'), 'flush');
      // The next round of maintenance finds two files to merge, and this restore in the write-ahead log only.
      expectSuccess(await client.restore('notes', ['row-0']), 'restore');
      await expectSoon(async () => (await call(server, 'GET', '/v1/tables/notes/history')).json.history[0].operation, {
        timeout: 20_000,
      }).toBe('OPTIMIZE');
      await server.kill();
      server = await startServer({ dataDir, config });
      const rows = await queryRows(server, 'SELECT id FROM notes ORDER BY id');
      expect(rows.map(({ id }) => id)).toEqual(['row-0', 'row-1', 'row-2', 'row-3']);
    } finally {
      await server.kill();
    }
  });
});

function rowNumber(row: number): ClientRecord {
  return {
    id: `row-${row}`,
    timestampMicros: 1_709_251_200_000_000n + BigInt(row),
    payload: payloadOf({ n: bigint(row), text: varchar('x'.repeat(200)) }),
  };
}
