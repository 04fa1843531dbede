/**
 * A table with everything that is easily lost on the way through a backup: integers that only 64 bits hold, doubles that look whole, nested JSON,
 * odd names of columns, NULL, columns that came later, rows in many files, replaced and deleted rows, and soft-deleted ones in every place.
 */
import { type Door, createTable, expectSuccess, flush, type JsonRow, writeBatch } from './requests.js';
import { textOf } from './backups.js';
import { call } from './server.js';

const DAYS = 6;
const ROWS = 30;
/** Of the ids `soft-…`. */
const SOFT_IDS = ['soft-1', 'soft-2', 'soft-3'];

export interface RichTable {
  readonly name: string;
  /** Queries whose answers have one order only. */
  readonly queries: readonly string[];
  readonly softIds: readonly string[];
  /** The soft-deleted rows, as a query answered them before. */
  readonly softText: string;
}

/** Makes the table and flushes all of it. */
export async function makeRichTable(server: Door, name: string, config: JsonRow = {}): Promise<RichTable> {
  await createTable(server, name, { properties: { owner: 'team-ü' }, retention_days: 0, sort_by: ['id', 'timestamp'], ...config });
  await send(
    server,
    name,
    Array.from({ length: ROWS }, (_, index) => recordText(`row-${index}`, index)),
  );
  await flush(server, name);
  // More columns; some ids again, and some replaced.
  await send(
    server,
    name,
    Array.from({ length: 10 }, (_, index) => recordText(`row-${index + 25}`, index, ',"later":0.1,"tags":["ü",null,{"k":[]}]')),
  );
  await replace(server, name, 'row-3', '{"whole":-9223372036854775808,"text":"replaced","later":1e300}');
  await send(
    server,
    name,
    SOFT_IDS.map((id, index) => recordText(id, index)),
  );
  await flush(server, name);
  await replace(server, name, 'row-4', '{"whole":9007199254740993}');
  const softWhere = `id IN (${SOFT_IDS.map((id) => `'${id}'`).join(', ')})`;
  await remove(server, name, ['row-5', 'row-6'], false);
  // One that is hidden in a file, one that is deleted while it is in the buffer, and one in a file of its own.
  await send(server, name, [recordText('soft-2', 7)]);
  const softText = await textOf(server, name, softWhere);
  await remove(server, name, ['soft-1', 'soft-2'], true);
  await flush(server, name);
  await remove(server, name, ['soft-3'], true);
  await flush(server, name);
  return { name, queries: queriesOf(name), softIds: SOFT_IDS, softText };
}

function queriesOf(name: string): string[] {
  return [
    `SELECT * FROM "${name}" ORDER BY ALL`,
    `SELECT count(*) AS n, count(DISTINCT id) AS ids, min(whole) AS low, max(whole) AS high, sum(whole::HUGEINT) AS total FROM "${name}"`,
    `SELECT id, "timestamp", whole FROM "${name}" WHERE "timestamp" >= '2024-03-02' AND "timestamp" < '2024-03-04' ORDER BY ALL`,
    `SELECT "timestamp"::DATE AS day, count(*) AS n, max(fraction) AS f FROM "${name}" GROUP BY day ORDER BY ALL`,
    `SELECT id, nested->'$.deep[0]' AS first, "a.b", "a'b", "été", "select" FROM "${name}" WHERE id LIKE 'row-1%' ORDER BY ALL`,
  ];
}

/** As text: numbers keep their digits. */
function recordText(id: string, index: number, more = ''): string {
  const day = String((index % DAYS) + 1).padStart(2, '0');
  const micros = String(index * 1_001).padStart(6, '0');
  const whole = index % 2 === 0 ? `922337203685477${5_000 + index}` : `-900719925474${1_000 + index}`;
  const payload = [
    `"whole":${whole}`,
    `"fraction":${index}.0`,
    `"decimal":123456789.123456${index}`,
    `"yes":${index % 3 === 0}`,
    `"text":${index % 4 === 0 ? 'null' : JSON.stringify(`ü€😀 'q' "d" \\ \n ${index}`)}`,
    `"nested":{"deep":[${index},{"x":null}],"big":9007199254740993,"text":"ü"}`,
    `"a.b":${index},"a'b":"b","été":1.5,"select":4,"Upper":true,"length":${index}`,
  ].join(',');
  return `{"id":"${id}","timestamp":"2024-03-${day}T${String(index % 24).padStart(2, '0')}:00:00.${micros}Z","payload":{${payload}${more}}}`;
}

async function send(server: Door, table: string, records: readonly string[]): Promise<void> {
  expectSuccess(await call(server, 'POST', '/v1/data', `{"table":"${table}","records":[${records.join(',')}]}`));
}

async function replace(server: Door, table: string, id: string, payload: string): Promise<void> {
  const timestamp = '2024-03-02T12:00:00.000001Z';
  expectSuccess(await call(server, 'PUT', '/v1/data', `{"table":"${table}","id":"${id}","timestamp":"${timestamp}","payload":${payload}}`));
}

async function remove(server: Door, table: string, ids: readonly string[], soft: boolean): Promise<void> {
  expectSuccess(await call(server, 'DELETE', '/v1/data', { table, ids, soft_delete: soft }));
}

/** Restores the soft-deleted rows. @returns them, as a query answers */
export async function restoreSoftRows(server: Door, { name, softIds }: RichTable): Promise<string> {
  expectSuccess(await call(server, 'POST', '/v1/data/restore', { table: name, ids: softIds }));
  return textOf(server, name, `id IN (${softIds.map((id) => `'${id}'`).join(', ')})`);
}

/** The table goes on as any other: rows come in, are replaced, deleted, flushed and compacted. @returns the ids that must be gone for good */
export async function goOnWriting(server: Door, { name }: RichTable, round: string): Promise<readonly string[]> {
  const gone = ['row-1', 'row-29', `new-${round}-1`];
  await writeBatch(
    server,
    name,
    [1, 2, 3].map((n) => ({ id: `new-${round}-${n}`, payload: { later: n, fresh: round } })),
  );
  await replace(server, name, 'row-2', `{"text":"after ${round}"}`);
  await remove(server, name, gone, false);
  await flush(server, name);
  await replace(server, name, 'row-7', `{"text":"after ${round}"}`);
  expectSuccess(await call(server, 'POST', `/v1/tables/${name}/compact`));
  return gone;
}
