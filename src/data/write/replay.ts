/**
 * Reads the log back after a start: what the tables' files hold already is passed over, the rest goes into the buffers as it did the first time.
 * Writes of a table that the catalogue does not know, though nobody dropped it, stay in the log until the table is taken back.
 */
import { Inject, Injectable } from '@nestjs/common';
import type { AppError } from '../../common/app-error.js';
import type { Clock } from '../../common/clock.js';
import type { Logger } from '../../common/logger.js';
import { CLOCK, LOGGER } from '../../common/tokens.js';
import type { Table } from '../../tables/table.js';
import { TableRegistry } from '../../tables/table-registry.js';
import { VisibleLsn } from '../../tables/view/visible-lsn.js';
import { WriteAheadLog } from '../wal/write-ahead-log.js';
import { type Applicable, fromWalRecord, idsOf, lastLsn } from './applicable.js';
import { type Addressed, Applier } from './apply.js';
import { IdempotencyKeys } from './idempotency.js';
import { LsnCounter } from './lsn-counter.js';

const GROUP_RECORDS_MAX = 1_000;
/** Tables that a message about missing records names. */
const COMMITTED_TOLD_MAX = 10;
const GROUP_BYTES_MAX = 16 * 1_024 * 1_024;

@Injectable()
export class Replay {
  /** Tables that the log has writes of and that cannot take them: unknown to the catalogue, or out of service. With the first LSN of each. */
  readonly #homeless = new Map<string, number>();

  constructor(
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly registry: TableRegistry,
    private readonly wal: WriteAheadLog,
    private readonly applier: Applier,
    private readonly idempotencyKeys: IdempotencyKeys,
    private readonly lsns: LsnCounter,
    private readonly visible: VisibleLsn,
  ) {}

  /** A write is in the log and not in the buffers of its table, because a data file of that table cannot be read. The log keeps it. */
  giveUp(table: Table, error: AppError): void {
    this.registry.takeOutOfService(table, error);
    this.#homeless.set(table.id, table.committedLsn(this.wal.id) + 1);
  }

  /** First LSN of writes whose table is not there to take them, though nobody dropped it. */
  get firstHomelessLsn(): number | undefined {
    return this.#homeless.size === 0 ? undefined : Math.min(...this.#homeless.values());
  }

  /** @returns writes replayed */
  async run(): Promise<number> {
    // What the files hold of any log that ever used this range counts: rows of a lost one must stay older than new ones.
    for (const table of this.registry.all()) this.lsns.raiseTo(table);
    let group: Addressed[] = [];
    let groupBytes = 0;
    let replayed = 0;
    const applyGroup = async (): Promise<void> => {
      const affected = await this.applier.apply(group, (table, error) => this.giveUp(table, error));
      for (const { write, table } of group) if (!table.outOfService) this.#rememberAnswer(write, affected);
      replayed += group.length;
      group = [];
      groupBytes = 0;
    };
    for await (const record of this.wal.replay(committedText(this.registry.all(), this.wal.id))) {
      const write = fromWalRecord(record);
      this.lsns.raise(lastLsn(write));
      if (write.kind === 'bulk') this.wal.bulkFiles.add(write.fileName);
      const table = this.registry.findById(write.tableId);
      if (!table) {
        this.#noteHomeless(write);
        continue;
      }
      // Its answer was saved before its commit.
      if (lastLsn(write) <= table.committedLsn(this.wal.id)) continue;
      group.push(addressed(table, write));
      groupBytes += record.data.length;
      if (group.length >= GROUP_RECORDS_MAX || groupBytes >= GROUP_BYTES_MAX) await applyGroup();
    }
    if (group.length > 0) await applyGroup();
    for (const table of this.registry.all()) this.wal.assertReaches(table.committedLsn(this.wal.id), table.name);
    this.visible.value = this.lsns.last;
    for (const tableId of [...this.#homeless.keys()].filter((id) => !this.registry.isOutOfService(id)))
      this.logger.error(
        { table_id: tableId },
        'the write-ahead log has writes for a table that is not in the catalogue; they stay there until the table is restored with POST /v1/metadata/restore',
      );
    return replayed;
  }

  /**
   * The writes of a dropped table went with it. Those of one that is out of service stay, and of one that the catalogue never heard of: it may be the
   * catalogue that is lost.
   */
  #noteHomeless({ tableId, firstLsn }: Applicable): void {
    const stays = this.registry.isOutOfService(tableId) || !this.registry.hasSeen(tableId);
    if (stays && !this.#homeless.has(tableId)) this.#homeless.set(tableId, firstLsn);
  }

  /** Applies what the log has for a table that was taken back. The caller is alone in the writer loop, and nobody sees the table yet. */
  async takeBack(table: Table): Promise<void> {
    this.lsns.raiseTo(table);
    if (!this.#homeless.has(table.id)) return;
    let replayed = 0;
    for await (const record of this.wal.replay()) {
      const write = fromWalRecord(record);
      if (write.tableId !== table.id || lastLsn(write) <= table.committedLsn(this.wal.id)) continue;
      await this.applier.apply([addressed(table, write)], (_table, error) => {
        throw error;
      });
      table.visibleChanges += 1;
      replayed += 1;
    }
    this.#homeless.delete(table.id);
    this.logger.info({ writes: replayed }, `${table.logLabel} writes replayed from the write-ahead log`);
  }

  #rememberAnswer(write: Applicable, affected: ReadonlyMap<number, number>): void {
    if (write.idempotencyKey === undefined || write.fingerprint === undefined) return;
    const ids = write.kind === 'rows' ? idsOf(write) : 'ids' in write ? write.ids : [];
    const count = write.kind === 'delete' || write.kind === 'restore' ? (affected.get(write.firstLsn) ?? 0) : write.lsnCount;
    this.idempotencyKeys.remember(write.idempotencyKey, {
      fingerprint: write.fingerprint,
      answer: { lsn: lastLsn(write), ids, count, refusals: [] },
    });
  }
}

/** How far tables have the writes of a log in their files, for the message about a log that lacks records. */
function committedText(tables: readonly Table[], walId: string): string {
  const held = tables.map((table) => ({ name: table.name, lsn: table.committedLsn(walId) })).filter(({ lsn }) => lsn > 0);
  if (held.length === 0) return 'No table holds writes of this log in its files. ';
  const listed = held.sort((a, b) => b.lsn - a.lsn).slice(0, COMMITTED_TOLD_MAX);
  const more = held.length > listed.length ? `, and ${held.length - listed.length} more tables to lower ones` : '';
  return `Files of tables hold this log up to these LSNs: ${listed.map(({ name, lsn }) => `${name} ${lsn}`).join(', ')}${more}. `;
}

/** A write with its table, which has the columns that the write added from here on. */
function addressed(table: Table, write: Applicable): Addressed {
  if ('columns' in write) table.schema = table.schema.withColumns(write.columns);
  return { table, schema: table.schema, write };
}

/**
 * Before a replay where the store is elsewhere: a commit of the process before may still be on its way to it, and come when its rows are in our
 * buffers again. So each table that has rows to replay gets a commit first: it takes the version that the late one would have taken.
 */
@Injectable()
export class Fence {
  constructor(
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly registry: TableRegistry,
    private readonly wal: WriteAheadLog,
  ) {}

  async run(): Promise<void> {
    const tables = new Set<Table>();
    for await (const record of this.wal.replay(committedText(this.registry.all(), this.wal.id))) {
      const write = fromWalRecord(record);
      const table = this.registry.findById(write.tableId);
      if (table && lastLsn(write) > table.committedLsn(this.wal.id)) tables.add(table);
    }
    for (const table of tables) await this.#fence(table);
  }

  async #fence(table: Table): Promise<void> {
    const before = table.snapshot;
    const snapshot = await table.log.commit(before, { name: 'FENCE', parameters: { wal: this.wal.id } }, (current) => [
      { txn: { appId: this.wal.id, version: current.transactions.get(this.wal.id) ?? 0, lastUpdated: this.clock.nowMs() } },
    ]);
    if (snapshot.version === before.version + 1) table.snapshot = snapshot;
    else await table.reopen(snapshot);
  }
}
