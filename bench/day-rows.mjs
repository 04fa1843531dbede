/** The rows of the layout measurements: ids and times ascend together, and a day has a hundred thousand, which is what compaction makes one file of. */
import { Readable } from 'node:stream';
import { callText, postLines } from './rest.mjs';

export const ROWS_OF_A_DAY = 100_000;
const COUNTRIES = ['DE', 'FR', 'US', 'IN', 'BR', 'JP', 'NG', 'AU'];
const FIRST_DAY_MS = Date.UTC(2024, 0, 1);
const MS_OF_A_DAY = 86_400_000;

export function idOf(row) {
  return `event-${String(row).padStart(9, '0')}`;
}

export function timeOf(row) {
  return new Date(FIRST_DAY_MS + (row * MS_OF_A_DAY) / ROWS_OF_A_DAY).toISOString();
}

/** Stores the rows of a range with one bulk request. */
export function loadRows(url, table, from, to, ack = '') {
  const lines = Array.from({ length: to - from }, (_, index) => line(from + index));
  const body = Buffer.from(lines.join('\n'));
  return postLines(url, `/v1/data/bulk?table=${table}${ack}`, Readable.from([body]), body.length);
}

/** A table with a file a day. */
export async function loadDays(url, table, rows) {
  await callText(url, 'POST', '/v1/tables', { table_name: table });
  for (let from = 0; from < rows; from += ROWS_OF_A_DAY) await loadRows(url, table, from, Math.min(rows, from + ROWS_OF_A_DAY));
  await callText(url, 'POST', `/v1/tables/${table}/flush`);
}

export async function fileCount(url, table) {
  return JSON.parse(await callText(url, 'GET', `/v1/tables/${table}`)).table_info.stats.file_count;
}

/** Compacts until another round leaves as many files. */
export async function compactFully(url, table) {
  for (let before = Infinity, after = await fileCount(url, table); after < before;) {
    await callText(url, 'POST', `/v1/tables/${table}/compact`);
    [before, after] = [after, await fileCount(url, table)];
  }
}

/** Multiplied by primes, so that neighbours differ. */
function line(row) {
  const [userId, country, amount] = [(row * 7_919) % 95_003, COUNTRIES[(row * 31) % 8], (row * 104_729) % 10_007];
  return `{"id":"${idOf(row)}","timestamp":"${timeOf(row)}","user_id":${userId},"country":"${country}","amount":${amount}}`;
}
