/** Every query that ends is counted, and has a line in the log: a warning when it was slow, an error when the server was at fault. */
import { Inject, Injectable } from '@nestjs/common';
import type { AppError } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import type { Logger } from '../common/logger.js';
import { redactSql } from '../common/redact-sql.js';
import { CLOCK, LOGGER } from '../common/tokens.js';
import { LogConfig } from '../config/config.js';
import type { RunningQuery } from './limits/running-queries.js';
import { QueryStatistics } from './query-counts.js';

const LOGGED_SQL_MAX = 500;

@Injectable()
export class QueryLog {
  constructor(
    private readonly config: LogConfig,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly statistics: QueryStatistics,
  ) {}

  /** @param error what the query failed with */
  note({ id, sql, startedMs }: Pick<RunningQuery, 'id' | 'sql' | 'startedMs'>, tables: readonly string[], error?: AppError): void {
    const elapsedMs = this.clock.nowMs() - startedMs;
    this.statistics.note(tables, elapsedMs, error);
    const line = { query_id: id, duration_ms: elapsedMs, tables, ...(error ? { error: error.code } : {}) };
    const label = tables.map((table) => `table:${table}`).join(' ');
    if (error?.code === 'INTERNAL')
      this.logger.error({ ...line, err: error, sql: redactSql(sql, LOGGED_SQL_MAX) }, `query failed ${label}`);
    if (elapsedMs >= this.config.slow_query_ms)
      this.logger.warn({ ...line, sql: redactSql(sql, LOGGED_SQL_MAX) }, `slow query: query duration ${elapsedMs} ms ${label}`);
    else this.logger.info(line, `query duration ${elapsedMs} ms ${label}`);
  }
}
