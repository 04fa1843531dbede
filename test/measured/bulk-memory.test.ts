/** Memory of the server while a bulk body is stored that is many times larger than it may be at once. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { readdirSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import path from 'node:path';
import { MEDIA_TYPES } from '../support/bulk-bodies.js';
import { expectThat } from '../support/expectations.js';
import { eventually, memoryOf, valueOf } from '../support/requests.js';
import { type RunningServer, startServer } from '../support/server.js';

const MIB = 1_024 * 1_024;

let server: RunningServer;

beforeAll(async () => {
  server = await startServer({ config: { log: { file: '' }, tables: { flush_interval_seconds: 3_600 } } });
});

afterAll(async () => {
  await server?.stop();
});

test('300 MB of CSV, made while it is sent, are stored in bounded memory', async () => {
  const before = memoryOf(server.pid, 'VmHWM');
  const ROWS = 600_000;
  const STEP = 5_000;
  let bytes = 0;
  function* pieces(): Iterable<Buffer> {
    yield Buffer.from('id,timestamp,n,half,word,pad\n');
    for (let first = 0; first < ROWS; first += STEP) {
      const lines = Array.from({ length: STEP }, (_, index) => {
        const n = first + index;
        return `m-${n},2024-01-01T00:00:00Z,${n},${n / 2},"w, ${n % 100}",${String(n % 977).padEnd(450, 'p')}\n`;
      });
      yield Buffer.from(lines.join(''));
    }
  }
  const startedMs = Date.now();
  const answer = await new Promise<{ status: number; text: string }>((resolve, reject) => {
    const request = httpRequest(new URL(`${server.rest}/v1/data/bulk?table=much`), {
      method: 'POST',
      headers: { 'content-type': MEDIA_TYPES.csv },
    });
    request.once('error', reject);
    request.once('response', (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.once('end', () => resolve({ status: response.statusCode ?? 0, text }));
    });
    void (async () => {
      for (const piece of pieces()) {
        bytes += piece.length;
        if (!request.write(piece)) await new Promise((drained) => request.once('drain', drained));
      }
      request.end();
    })();
  });
  expectThat(answer.status, answer.text).toBe(200);
  expect(JSON.parse(answer.text)).toMatchObject({ count: ROWS, refused_count: 0 });
  const peak = memoryOf(server.pid, 'VmHWM');
  console.log(
    `${(bytes / MIB).toFixed(0)} MiB of CSV in ${((Date.now() - startedMs) / 1_000).toFixed(1)} s; peak ${(peak / MIB).toFixed(0)} MiB (${(before / MIB).toFixed(0)} MiB before)`,
  );
  expect(bytes).toBeGreaterThan(290_000_000);
  expect(peak).toBeLessThan(1_536 * MIB);
  expect(await valueOf(server, 'SELECT sum(n) FROM much')).toBe((ROWS * (ROWS - 1)) / 2);
  const scratch = path.join(server.dataDir, 'tmp');
  await eventually(
    'the scratch directory is empty',
    () => readdirSync(scratch),
    (names) => names.length === 0,
    5_000,
  );
}, 180_000);
