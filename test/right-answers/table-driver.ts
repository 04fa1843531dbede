/**
 * Does every change twice: to the server over HTTP and to the model, and holds the counts of the answers against the model's.
 */
import { expect } from '@jest/globals';
import { expectThat } from '../support/expectations.js';
import { type Answer, call, type RunningServer } from '../support/server.js';
import { timestampText } from './compare-answers.js';
import { type Cell, type ExpectedTable, payloadText, type RecordToWrite } from './expected-table.js';
import type { SeededRandom } from '../support/seeded-random.js';

/** Changes of different ids do not depend on each other's order, so this many are sent at once. */
const CHANGES_AT_ONCE = 8;

export class TableDriver {
  constructor(
    readonly server: RunningServer,
    readonly random: SeededRandom,
    readonly table: ExpectedTable,
  ) {}

  async write(records: readonly RecordToWrite[]): Promise<void> {
    if (records.length === 0) return;
    const texts = records.map((record) => this.#recordText(record));
    const answer = await this.#send('POST', '/v1/data', `{"table":"${this.table.name}","records":[${texts.join(',')}]}`);
    expect(answer.json.count).toBe(records.length);
    for (const record of records) this.table.write(record);
  }

  async replaceEach(records: readonly RecordToWrite[]): Promise<void> {
    await this.#inGroups(records, async (record) => {
      const fields = this.#recordText(record).slice(1);
      await this.#send('PUT', '/v1/data', `{"table":"${this.table.name}",${fields}`);
    });
    for (const record of records) this.table.replace(record);
  }

  async mergeEach(changes: ReadonlyMap<string, ReadonlyMap<string, Cell>>): Promise<void> {
    await this.#inGroups([...changes], async ([id, payload]) => {
      const text = this.#payloadText(payload);
      await this.#send('PUT', '/v1/data', `{"table":"${this.table.name}","id":"${id}","partial":true,"payload":${text}}`);
    });
    for (const [id, payload] of changes) this.table.merge(id, payload);
  }

  async hardDelete(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    const answer = await this.#delete(ids, false);
    expectThat(answer.json.deleted_count, `hard delete of ${ids.join(', ')}`).toBe(this.table.hardDelete(new Set(ids)));
  }

  async softDelete(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    const answer = await this.#delete(ids, true);
    expectThat(answer.json.deleted_count, `soft delete of ${ids.join(', ')}`).toBe(this.table.softDelete(new Set(ids)));
  }

  async restore(ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return;
    const answer = await this.#send('POST', '/v1/data/restore', JSON.stringify({ table: this.table.name, ids }));
    expectThat(answer.json.restored_count, `restore of ${ids.join(', ')}`).toBe(this.table.restore(new Set(ids)));
  }

  async flush(): Promise<void> {
    await this.#send('POST', `/v1/tables/${this.table.name}/flush`, undefined);
  }

  async compact(): Promise<void> {
    await this.#send('POST', `/v1/tables/${this.table.name}/compact`, undefined);
  }

  #delete(ids: readonly string[], isSoft: boolean): Promise<Answer> {
    const [id] = ids;
    const which = ids.length === 1 ? { id } : { ids };
    return this.#send('DELETE', '/v1/data', JSON.stringify({ table: this.table.name, ...which, soft_delete: isSoft }));
  }

  async #send(method: string, path: string, body: string | undefined): Promise<Answer> {
    const answer = await call(this.server, method, path, body);
    expectThat(answer.status, `${method} ${path} ${body?.slice(0, 300)}: ${answer.text}`).toBe(200);
    return answer;
  }

  async #inGroups<T>(items: readonly T[], send: (item: T) => Promise<void>): Promise<void> {
    for (let start = 0; start < items.length; start += CHANGES_AT_ONCE) {
      await Promise.all(items.slice(start, start + CHANGES_AT_ONCE).map(send));
    }
  }

  #recordText(record: RecordToWrite): string {
    const payload = this.#payloadText(this.#withNulls(record.payload));
    return `{"id":"${record.id}","timestamp":${this.#timestamp(record.micros)},"payload":${payload}}`;
  }

  #payloadText(payload: ReadonlyMap<string, Cell | undefined>): string {
    return payloadText(payload, (column) => this.table.kindOf(column), this.table.columns.length > 0);
  }

  /** With null for some of the fields that are absent, which is the same thing. */
  #withNulls(payload: ReadonlyMap<string, Cell>): Map<string, Cell | undefined> {
    const absent = this.table.columns.filter((column) => !payload.has(column) && this.random.chance(0.3));
    return new Map([...payload, ...absent.map((column) => [column, undefined] as const)]);
  }

  /** The same instant in one of the ways a client may write it. */
  #timestamp(micros: bigint): string {
    if (micros % 1000n === 0n && this.random.chance(0.3)) return `${micros / 1000n}`;
    const text = timestampText(micros);
    if (this.random.chance(0.2)) return JSON.stringify(timestampText(micros - 19_800_000_000n).replace('Z', '-05:30'));
    return JSON.stringify(micros % 1_000_000n === 0n ? text.replace('.000000', '') : text);
  }
}
