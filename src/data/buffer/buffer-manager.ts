/**
 * The buffers of all tables: how much they hold, how much they may, when a table's are due for a flush, and the freeze that begins one. A table has
 * one active generation, which takes rows, and frozen ones, which a flush is writing to files.
 */
import { Inject, Injectable } from '@nestjs/common';
import { AppError } from '../../common/app-error.js';
import { type Clock, MS_PER_SECOND } from '../../common/clock.js';
import { Config } from '../../config/config.js';
import { CLOCK } from '../../common/tokens.js';
import type { Generation } from '../../tables/generation.js';
import type { Table } from '../../tables/table.js';
import { TableRegistry } from '../../tables/table-registry.js';
import { WriteAheadLog } from '../wal/write-ahead-log.js';

/** A table's buffers are flushed when they fill this part of the room for all, whatever else is said of it. */
const TABLE_PARTS = 4;

/** What a flush takes: generations that get no more rows, and changes of stored rows up to an LSN. */
export interface Frozen {
  readonly generations: readonly Generation[];
  readonly lsn: number;
}

@Injectable()
export class BufferManager {
  constructor(
    private readonly config: Config,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly registry: TableRegistry,
    private readonly wal: WriteAheadLog,
  ) {}

  /** Bytes of rows in buffers, all tables together. */
  get bytes(): number {
    return this.registry.all().reduce((sum, table) => sum + table.bufferedBytes, 0);
  }

  /**
   * Every bound that a write can meet, before it waits. A refusal leaves nothing behind.
   * @param bytes about how much the write adds
   * @param queuedBytes how much waits for the log already
   * @throws AppError RESOURCE_EXHAUSTED naming the bound and what is in use
   */
  admit(bytes: number, queuedBytes: number): void {
    const { wal, buffer } = this.config;
    if (queuedBytes + bytes > wal.queue_bytes_max && queuedBytes > 0)
      throw exhausted('writes waiting for the log (wal.queue_bytes_max)', queuedBytes, wal.queue_bytes_max);
    if (this.wal.bytes + bytes > wal.bytes_max)
      throw exhausted('acknowledged writes that are not in data files yet (wal.bytes_max)', this.wal.bytes, wal.bytes_max);
    const buffered = this.bytes;
    if (buffered + bytes > buffer.bytes_max) throw exhausted('buffered rows (buffer.bytes_max)', buffered, buffer.bytes_max);
  }

  /** True when a table's buffers have reached a limit of rows, bytes or age. */
  isDue(table: Table): boolean {
    const rows = table.generations.reduce((sum, generation) => sum + generation.totalRows, 0);
    const oldestMs = Math.min(...table.generations.map((generation) => generation.oldestMs ?? Infinity), table.masksSinceMs ?? Infinity);
    return (
      rows >= table.config.buffer_size ||
      table.bufferedBytes >= this.config.buffer.bytes_max / TABLE_PARTS ||
      this.clock.nowMs() - oldestMs >= table.config.flush_interval_seconds * MS_PER_SECOND
    );
  }

  /** Age of the oldest row that only buffers hold; 0 if there is none. */
  unflushedMs({ generations }: Table): number {
    const nowMs = this.clock.nowMs();
    return nowMs - Math.min(nowMs, ...generations.flatMap(({ oldestMs: ms, isEmpty }) => (ms === undefined || isEmpty ? [] : [ms])));
  }

  /**
   * Ends what a table's buffers take: everything up to an LSN is in what is returned, later rows go into a new generation. The caller is alone in
   * the writer loop, or a row could come between.
   * @returns undefined when nothing waits for a flush
   */
  async freeze(table: Table, lsn: number): Promise<Frozen | undefined> {
    const pending = await table.masks.changedSources(table.committedLsn(this.wal.id), lsn);
    const generations = table.generations.filter((generation) => !generation.isEmpty);
    table.masksSinceMs = undefined;
    if (generations.length === 0 && pending.length === 0) {
      // Files with hidden rows may have left the table since.
      table.firstMaskLsn = await table.masks.firstChangeAfter(lsn);
      return undefined;
    }
    if (!table.active.isEmpty) table.startGeneration(lsn + 1);
    for (const generation of generations) generation.frozenLsn = lsn;
    return { generations, lsn };
  }

  /** The first LSN of a table that only the log has; undefined when its files hold everything. */
  oldestUnflushed(table: Table): number | undefined {
    const generation = table.generations.find((candidate) => !candidate.isEmpty);
    const inBuffer = generation ? Math.max(generation.firstLsn, table.committedLsn(this.wal.id) + 1) : Infinity;
    const oldest = Math.min(inBuffer, table.firstMaskLsn ?? Infinity);
    return Number.isFinite(oldest) ? oldest : undefined;
  }
}

function exhausted(what: string, used: number, limit: number): AppError {
  return new AppError('RESOURCE_EXHAUSTED', `${what}: ${used} of ${limit} bytes are in use; try again when the flush has caught up`, {
    retryAfterSeconds: 2,
  });
}
