/** Tells of a flush that is done: its answer, the log line, the freshness of its rows, and the event. */
import { Inject, Injectable } from '@nestjs/common';
import type { Clock } from '../../common/clock.js';
import type { Logger } from '../../common/logger.js';
import { CLOCK, LOGGER } from '../../common/tokens.js';
import { noteSpan } from '../../common/tracing.js';
import type { Table } from '../../tables/table.js';
import { TableEvents } from '../../tables/table-events.js';
import type { FlushResult } from '../flush-path.js';
import { Freshness } from '../freshness.js';
import { bulkFilesOf, type Flush } from './flush.js';

@Injectable()
export class FlushReport {
  constructor(
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly freshness: Freshness,
    private readonly events: TableEvents,
  ) {}

  /** @returns when this attempt began */
  begin(): number {
    return this.clock.nowMs();
  }

  of(table: Table, flush: Flush, startedMs: number): FlushResult {
    const { generations, lsn, encoded = [] } = flush;
    const { version } = table.snapshot;
    const nowMs = this.clock.nowMs();
    const oldestMs = Math.min(...generations.map((generation) => generation.oldestMs ?? Infinity));
    if (oldestMs !== Infinity) this.freshness.note('parquet', nowMs - oldestMs);
    const rows = generations.reduce((sum, generation) => sum + generation.totalRows, 0);
    const files = encoded.length + bulkFilesOf(flush).length;
    noteSpan({ 'miniodb.rows': rows, 'miniodb.version': version });
    this.logger.info({ version, rows, files, lsn, duration_ms: nowMs - startedMs }, `${table.logLabel} flushed`);
    this.events.tell('committed', table);
    return { version, rows, files, isCommitted: true };
  }
}
