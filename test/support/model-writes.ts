/** The writing operations of the model test: each sends a request, checks the answer, and does the same to the reference state. */
import { padded } from './data-client.js';
import { randomRefusal } from './model-refusals.js';
import type { ModelRun } from './model-run.js';
import type { ModelTable } from './model-table.js';
import { type ClientRecord, flatRecordJson } from './payload-value.js';
import { hardDeleted, merged, replaced, restored, softDeleted, written } from './reference-table.js';
import { expectSuccess } from './requests.js';
import type { Answer } from './server.js';

export type NewRow = ReturnType<ModelTable['newRow']>;
export type Door = 'single' | 'batch' | 'bulk' | 'largeBulk';

/** They use columns and ids that every table of the test has. */
const BAD_LINES = [
  '{"id":"e_1","n":"thirty","never_stored":1}',
  '{"id":"e_1","n":1',
  '{"id":"not\x7fallowed","n":1}',
  '{"id":"e_1","timestamp":"yesterday","n":1}',
  '[1, 2, 3]',
  '{"id":"e_1","ratio":9007199254740993}',
];

export class ModelWrites {
  readonly #run: ModelRun;

  constructor(run: ModelRun) {
    this.#run = run;
  }

  newRows(table: ModelTable, countMax: number): NewRow[] {
    return Array.from({ length: this.#run.random.integer(1, countMax + 1) }, () => table.newRow());
  }

  async store(table: ModelTable, rows: readonly NewRow[], door: Door): Promise<void> {
    const records = rows.map(({ record }) => record);
    this.#run.note(`${door} ${table.name} ${records.map(flatRecordJson).join(' ')}`);
    const answer = expectSuccess(await this.#send(table, records, door), door);
    if (door !== 'single') expectField(answer, 'count', records.length);
    for (const newRow of rows) rememberWrite(table, newRow);
  }

  #send(table: ModelTable, records: readonly ClientRecord[], door: Door): Promise<Answer> {
    const [first] = records;
    if (!first) throw new Error('nothing to store');
    switch (door) {
      case 'single':
        return this.#run.client.write(table.name, first, this.#run.random.chance(0.05) ? '?ack=flushed' : '');
      case 'batch':
        return this.#run.client.writeBatch(table.name, records);
      case 'bulk':
        return this.#run.client.bulk(table.name, records.map(flatRecordJson));
      case 'largeBulk':
        return this.#run.client.bulk(table.name, padded(records.map(flatRecordJson)));
    }
  }

  /** `on_error=skip`: the good lines are stored, the bad ones listed, and nothing of a bad line stays, not even its new column. */
  async bulkWithBadLines(table: ModelTable): Promise<void> {
    const good = this.newRows(table, 10);
    const bad = this.#run.random.some(BAD_LINES, this.#run.random.integer(1, BAD_LINES.length + 1));
    const goodLines = good.map((newRow) => ({ text: flatRecordJson(newRow.record), newRow }));
    const lines = this.#run.random.shuffled<{ text: string; newRow?: NewRow }>([...goodLines, ...bad.map((text) => ({ text }))]);
    const texts = lines.map(({ text }) => text);
    this.#run.note(`bulk with bad lines ${table.name} ${texts.join(' ')}`);
    const body = this.#run.random.chance(0.5) ? padded(texts) : texts;
    const answer = expectSuccess(await this.#run.client.bulk(table.name, body, '&on_error=skip'), 'bulk with bad lines');
    expectField(answer, 'count', good.length);
    expectField(answer, 'refused_count', bad.length);
    const expectedLines = lines.flatMap(({ newRow }, index) => (newRow ? [] : [index + 1]));
    const actualLines = answer.json.errors.map(({ line }: { line: number }) => line);
    if (expectedLines.join() !== actualLines.join()) throw new Error(`bad lines ${expectedLines.join()}, answered ${answer.text}`);
    for (const { newRow } of lines) if (newRow) rememberWrite(table, newRow);
  }

  async update(table: ModelTable): Promise<void> {
    const { row, record } = table.newRow();
    this.#run.note(`replace ${table.name} ${flatRecordJson(record)}`);
    expectSuccess(await this.#run.client.replace(table.name, record), 'replace');
    table.reference.learnColumns(record.payload);
    table.reference.set(row.id, replaced(table.reference.entity(row.id), row));
  }

  async partialUpdate(table: ModelTable): Promise<void> {
    const { row, record } = table.newRow();
    // Without a row to merge into, a missing timestamp would mean "now", which the model cannot know.
    const keepTimestamp = table.reference.entity(row.id).live.length > 0 && this.#run.random.chance(0.5);
    this.#run.note(`merge ${table.name} ${flatRecordJson(record)}${keepTimestamp ? ' without its timestamp' : ''}`);
    const timestamp = keepTimestamp ? undefined : record.timestampMicros;
    expectSuccess(await this.#run.client.merge(table.name, record.id, record.payload, timestamp), 'merge');
    table.reference.learnColumns(record.payload);
    table.reference.set(row.id, merged(table.reference.entity(row.id), row, record.payload, keepTimestamp));
  }

  async delete(table: ModelTable, ids: readonly string[], softDelete: boolean): Promise<void> {
    this.#run.note(`${softDelete ? 'soft' : 'hard'} delete ${table.name} ${ids.join(' ')}`);
    const answer = expectSuccess(await this.#run.client.delete(table.name, ids, softDelete), 'delete');
    expectField(
      answer,
      'deleted_count',
      sumOf(ids, (id) => table.reference.entity(id).live.length),
    );
    for (const id of ids) {
      table.reference.set(id, softDelete ? softDeleted(table.reference.entity(id)) : hardDeleted());
    }
  }

  async restore(table: ModelTable): Promise<void> {
    const restorable = table.ids.filter((id) => table.reference.entity(id).hidden.length > 0);
    if (restorable.length === 0) return;
    const id = this.#run.random.pick(restorable);
    const state = table.reference.entity(id);
    this.#run.note(`restore ${table.name} ${id}`);
    const answer = await this.#run.client.restore(table.name, [id]);
    if (table.mode === 'upsert' && state.live.length > 0) return expectRefusal(answer, 'CONFLICT');
    expectSuccess(answer, 'restore');
    expectField(answer, 'restored_count', table.mode === 'upsert' ? 1 : state.hidden.length);
    table.reference.set(id, restored(state, table.mode, table.nextOrders(state.hidden.length)));
  }

  async refusal(table: ModelTable): Promise<void> {
    const refusal = randomRefusal(table);
    this.#run.note(`refusal ${table.name}: ${refusal.description}`);
    const answer = await refusal.send(this.#run.client);
    expectRefusal(answer, 'INVALID_ARGUMENT');
    if (!JSON.stringify(answer.json).includes(refusal.names)) {
      throw new Error(`the refusal of ${refusal.description} does not name ${refusal.names}: ${answer.text}`);
    }
  }
}

function rememberWrite(table: ModelTable, { row, record }: NewRow): void {
  table.reference.learnColumns(record.payload);
  table.reference.set(row.id, written(table.reference.entity(row.id), row, table.mode));
}

function expectField(answer: Answer, field: string, value: number): void {
  if (answer.json[field] !== value) throw new Error(`${field} is ${answer.json[field]}, must be ${value}: ${answer.text.slice(0, 500)}`);
}

function expectRefusal(answer: Answer, code: string): void {
  if (answer.json?.error !== code) throw new Error(`expected ${code}, got HTTP ${answer.status} ${answer.text.slice(0, 500)}`);
}

function sumOf<T>(members: readonly T[], valueOf: (member: T) => number): number {
  return members.reduce((sum, member) => sum + valueOf(member), 0);
}
