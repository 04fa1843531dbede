/** Queries: analysis, admission, execution, results. */
import { setTimeout } from 'node:timers/promises';
import { type BeforeApplicationShutdown, Module, type OnModuleInit, type OnApplicationShutdown } from '@nestjs/common';
import { AppError } from '../common/app-error.js';
import { MS_PER_SECOND } from '../common/clock.js';
import { Config } from '../config/config.js';
import type { Logger } from '../common/logger.js';
import { DataModule } from '../data/data.module.js';
import { Engine } from '../engine/duckdb/engine.js';
import { LOGGER } from '../common/tokens.js';
import { Admission } from './limits/admission.js';
import { SqlAnalyser } from './sql/analyse.js';
import { MemoryWatch } from './limits/memory-watch.js';
import { Cursors } from './paging/cursors.js';
import { QueryConnections } from './query-connections.js';
import { QueryController } from './query.controller.js';
import { QueryStatistics } from './query-counts.js';
import { QUERY_METRICS } from './query-counts.metrics.js';
import { QueryStreamCounts } from './stream-counts.js';
import { STREAM_QUERY_METRICS } from './stream-counts.metrics.js';
import { KeptResults } from './paging/kept-results.js';
import { TablePins } from './pin-tables.js';
import { QueryErrors } from './query-error.js';
import { QueryLog } from './query-log.js';
import { ReadPath } from './read-path.js';
import { BatchStreams } from './results/batch-stream.js';
import { CachedPages } from './results/cached-pages.js';
import { FirstRowsReader } from './results/first-rows.js';
import { QueryRunner } from './run-query.js';
import { Understanding } from './understand.js';
import { ResultCache } from './results/result-cache.js';
import { ResultStreams } from './results/result-stream.js';
import { RunningQueries } from './limits/running-queries.js';

/** Share of the time to stop that queries under way get: one in this many parts. */
const GRACE_PARTS = 3;
const POLL_MS = 20;

@Module({
  imports: [DataModule],
  controllers: [QueryController],
  providers: [
    QueryStatistics,
    QueryStreamCounts,
    RunningQueries,
    {
      provide: Admission,
      inject: [Config],
      useFactory: ({ query }: Config) => new Admission(query.concurrency_max, query.queue_max, query.queue_wait_ms),
    },
    { provide: Cursors, inject: [Config], useFactory: ({ query }: Config) => new Cursors(query.cursors_max, query.cursor_ttl_seconds) },
    { provide: ResultCache, inject: [Config], useFactory: ({ query }: Config) => new ResultCache(query.result_cache_bytes_max) },
    {
      provide: MemoryWatch,
      inject: [Config, RunningQueries, LOGGER],
      useFactory: ({ query }: Config, running: RunningQueries, logger: Logger) => {
        const watch = new MemoryWatch(query.process_bytes_max, running, logger);
        watch.start();
        return watch;
      },
    },
    {
      provide: QueryConnections,
      inject: [Engine, MemoryWatch],
      useFactory: async (engine: Engine, watch: MemoryWatch) => {
        const connections = new QueryConnections(engine);
        await connections.open(watch);
        return connections;
      },
    },
    {
      provide: SqlAnalyser,
      inject: [Engine],
      useFactory: async (engine: Engine) => {
        const analyser = new SqlAnalyser(engine);
        await analyser.open();
        return analyser;
      },
    },
    QueryLog,
    QueryErrors,
    Understanding,
    TablePins,
    QueryRunner,
    KeptResults,
    FirstRowsReader,
    CachedPages,
    ReadPath,
    BatchStreams,
    ResultStreams,
    ...QUERY_METRICS,
    ...STREAM_QUERY_METRICS,
  ],
  exports: [DataModule, SqlAnalyser, Admission, Cursors, ResultCache, QueryStatistics, QueryStreamCounts],
})
export class QueryModule implements OnModuleInit, BeforeApplicationShutdown, OnApplicationShutdown {
  constructor(
    private readonly config: Config,
    private readonly running: RunningQueries,
    private readonly cursors: Cursors,
    private readonly connections: QueryConnections,
    private readonly memoryWatch: MemoryWatch,
    private readonly analyser: SqlAnalyser,
    private readonly kept: KeptResults,
  ) {}

  onModuleInit(): Promise<void> {
    return this.kept.open();
  }

  /** Queries under way may end by themselves for a while; the server cannot close before they have. */
  async beforeApplicationShutdown(): Promise<void> {
    const deadlineMs = Date.now() + (this.config.server.shutdown_seconds * MS_PER_SECOND) / GRACE_PARTS;
    while (this.running.count > 0 && Date.now() < deadlineMs) await setTimeout(POLL_MS);
    this.running.stopAll(new AppError('UNAVAILABLE', 'the server is stopping'));
  }

  onApplicationShutdown(): void {
    this.running.stopAll(new AppError('UNAVAILABLE', 'the server is stopping'));
    this.cursors.close();
    this.memoryWatch.stop();
    this.connections.close();
    this.analyser.close();
  }
}
