/** A full disk stops writes without losing an acknowledged one, and says so; when there is room again, all goes on by itself. */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync, statfsSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { expectThat } from './support/expectations.js';
import { eventually, expectStatus, flush, type JsonRow, rowsOf, write } from './support/requests.js';
import { type Answer, call, type RunningServer, temporaryDirectory } from './support/server.js';
import { cleanUps, start } from './support/server-of-a-test.js';

const MIB = 1_024 * 1_024;

describe('a full disk', () => {
  interface SmallDisk {
    readonly directory: string;
    /** Takes what is left, but for these bytes. */
    fill(leaveBytes: number): void;
    free(): void;
  }

  /** A tmpfs of its own, or undefined when this user may not mount one. */
  function mountSmallDisk(megabytes: number): SmallDisk | undefined {
    const directory = temporaryDirectory('small-disk');
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', directory], { stdio: 'pipe' });
    } catch (error) {
      console.warn(
        `FULL DISK TEST: mounting a tmpfs failed (${String(error).split('\n')[0]}); a limit on file size (prlimit --fsize) stands in for it`,
      );
      return undefined;
    }
    console.log(`FULL DISK TEST: runs on a tmpfs of ${megabytes} MiB at ${directory}`);
    cleanUps.push(() => execFileSync('umount', ['--lazy', directory]));
    const ballast = path.join(directory, 'ballast');
    return {
      directory,
      fill: (leaveBytes) => {
        const { bavail, bsize } = statfsSync(directory);
        const wanted = bavail * bsize - leaveBytes;
        if (wanted > 0) writeFileSync(ballast, Buffer.alloc(wanted), { flag: 'a' });
      },
      free: () => rmSync(ballast, { force: true }),
    };
  }

  const CONFIG = {
    log: { file: '' },
    wal: { segment_bytes: 256 * 1_024, bytes_max: 512 * MIB },
    tables: { buffer_size: 2_000, flush_interval_seconds: 5 },
    maintenance: { interval_seconds: 1 },
  };

  /** A flush trims the WAL, and so makes room. */
  const NO_FLUSH_BY_ITSELF = { flush_interval_seconds: 3_600 };

  /** What is left for the WAL itself to fill, so that one append ends in the middle of a record. */
  const LEFT_BYTES = 2 * MIB;

  /** Writes batches of twenty rows of 4 KB until one is refused; remembers what was acknowledged and gives the refusal. */
  async function writeUntilRefused(server: RunningServer, acknowledged: string[]): Promise<Answer> {
    for (let batch = 0; batch < 2_000; batch += 1) {
      const ids = Array.from({ length: 20 }, (_, index) => `row-${batch}-${index}`);
      const records = ids.map((id) => ({ id, payload: { filler: randomBytes(2_000).toString('hex') } }));
      const answer = await call(server, 'POST', '/v1/data', { table: 'filled', records });
      if (answer.status >= 300) return answer;
      acknowledged.push(...ids);
    }
    throw new Error('2,000 batches of 80 KB were accepted: the disk never became full');
  }

  function expectUnavailable(answer: Answer): void {
    expectThat({ status: answer.status, error: answer.json?.error }, answer.text.slice(0, 500)).toEqual({
      status: 503,
      error: 'UNAVAILABLE',
    });
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(answer.json.message).toMatch(/space|disk|full|too large/i);
    expect(answer.text).not.toMatch(/ENOSPC.*\/|\/tmp\//);
  }

  /** The table holds each acknowledged row once, and no other: a refused row must not turn up either. */
  async function expectExactly(server: RunningServer, acknowledged: readonly string[]): Promise<void> {
    const stored = (await call(server, 'POST', '/v1/query', { sql: 'SELECT id FROM filled' }, { accept: 'application/x-ndjson' })).text
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { id: string }).id);
    const allowed = new Set(acknowledged);
    const counted = new Set(stored);
    expectThat(counted.size, 'a row is stored twice').toBe(stored.length);
    expectThat(
      acknowledged.filter((id) => !counted.has(id)),
      'acknowledged rows are missing',
    ).toEqual([]);
    expectThat(
      stored.filter((id) => !allowed.has(id)),
      'rows that nobody wrote',
    ).toEqual([]);
  }

  /** The one story, whatever makes the disk full: refuse, keep answering, heal, lose nothing, also across a crash. */
  async function refuseAndHeal(
    server: RunningServer,
    fill: () => void,
    free: () => void,
    dataDir: string,
    config: Record<string, unknown>,
  ): Promise<void> {
    const acknowledged: string[] = [];
    await write(server, 'filled', 'before', { n: -1 });
    acknowledged.push('before');
    fill();
    expectUnavailable(await writeUntilRefused(server, acknowledged));
    for (let again = 0; again < 5; again += 1) {
      expectUnavailable(
        await call(server, 'POST', '/v1/data', {
          table: 'filled',
          id: `refused-${again}`,
          payload: { filler: randomBytes(200_000).toString('hex') },
        }),
      );
    }
    expectStatus(await call(server, 'GET', '/v1/health/live'), 200);
    await expectExactly(server, acknowledged);
    free();
    const healedId = `healed-${acknowledged.length}`;
    await eventually(
      'writes are taken again',
      () => call(server, 'POST', '/v1/data', { table: 'filled', id: healedId, payload: { n: 1 } }, { 'idempotency-key': healedId }),
      (answer) => answer.status < 300,
      60_000,
    );
    acknowledged.push(healedId);
    await expectExactly(server, acknowledged);
    await eventually(
      'a flush works again',
      () => call(server, 'POST', '/v1/tables/filled/flush'),
      (answer) => answer.status < 300,
      60_000,
    );
    await write(server, 'filled', 'after', { n: 2 });
    acknowledged.push('after');
    await expectExactly(server, acknowledged);
    await server.kill();
    await expectExactly(await start({ dataDir, config }), acknowledged);
  }

  test('under the whole data directory: writes are refused with 503 while it is full, and heal', async () => {
    const disk = mountSmallDisk(48);
    if (!disk) return onALimitOfFileSize();
    const dataDir = path.join(disk.directory, 'data');
    const config = { ...CONFIG, tables: NO_FLUSH_BY_ITSELF };
    const server = await start({ dataDir, config });
    await refuseAndHeal(server, () => disk.fill(LEFT_BYTES), disk.free, dataDir, config);
  }, 240_000);

  test('under the WAL alone: the same, while the object store has room', async () => {
    const disk = mountSmallDisk(16);
    if (!disk) return onALimitOfFileSize();
    const dataDir = temporaryDirectory('server');
    mkdirSync(path.join(disk.directory, 'wal'));
    symlinkSync(path.join(disk.directory, 'wal'), path.join(dataDir, 'wal'));
    const config = { ...CONFIG, tables: NO_FLUSH_BY_ITSELF };
    const server = await start({ dataDir, config });
    await refuseAndHeal(server, () => disk.fill(LEFT_BYTES), disk.free, dataDir, config);
  }, 240_000);

  test('under the object store alone: writes go on from the WAL, and the flush catches up by itself', async () => {
    const disk = mountSmallDisk(16);
    if (!disk) return onALimitOfFileSize();
    const dataDir = path.join(disk.directory, 'data');
    const walDirectory = temporaryDirectory('wal');
    mkdirSync(dataDir);
    symlinkSync(walDirectory, path.join(dataDir, 'wal'));
    const server = await start({ dataDir, config: CONFIG });
    const acknowledged = ['before'];
    await write(server, 'filled', 'before', { n: 1 });
    await flush(server, 'filled');
    disk.fill(0);
    for (let n = 0; n < 300; n += 1) {
      await write(server, 'filled', `row-${n}`, { filler: `${n} ${Math.random()}`.repeat(20) });
      acknowledged.push(`row-${n}`);
    }
    expectStatus(await call(server, 'POST', '/v1/tables/filled/flush'), 503);
    await expectExactly(server, acknowledged);
    disk.free();
    await eventually(
      'the flush catches up by itself',
      async () => (await call(server, 'GET', '/v1/tables/filled')).json.table_info.stats as JsonRow,
      (stats) => stats['buffered_records'] === 0,
      90_000,
    );
    await expectExactly(server, acknowledged);
    await server.kill();
    const again = await start({ dataDir, config: CONFIG });
    await expectExactly(again, acknowledged);
    expect(await rowsOf(again, 'SELECT count(*) AS c FROM filled')).toEqual([{ c: acknowledged.length }]);
  }, 240_000);

  /** Without the right to mount: no file of the process may grow beyond a limit, which fails a write as a full disk does (EFBIG for ENOSPC). */
  async function onALimitOfFileSize(): Promise<void> {
    const dataDir = temporaryDirectory('server');
    const config = { ...CONFIG, wal: { segment_bytes: 64 * MIB, bytes_max: 512 * MIB }, tables: NO_FLUSH_BY_ITSELF };
    const server = await start({ dataDir, config });
    const limit = (bytes: string): void => void execFileSync('prlimit', ['--pid', String(server.pid), `--fsize=${bytes}`]);
    await refuseAndHeal(
      server,
      () => limit(`${64 * 1_024}:unlimited`),
      () => limit('unlimited:unlimited'),
      dataDir,
      config,
    );
  }
});
