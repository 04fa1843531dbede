/** Queries: analysis, admission, execution, results. */
import { setTimeout } from 'node:timers/promises';
import { type BeforeApplicationShutdown, Module, type OnApplicationShutdown } from '@nestjs/common';
import { AppError } from '../common/app-error.js';
import { type Clock, MS_PER_SECOND } from '../common/clock.js';
import { Config } from '../common/config/config.js';
import type { Logger } from '../common/logger.js';
import { DataModule } from '../data/data.module.js';
import { VisibleLsn } from '../tables/visible-lsn.js';
import { Engine } from '../infra/duckdb/engine.js';
import { CLOCK, DATA_PATHS, LOGGER } from '../common/tokens.js';
import type { DataPaths } from '../infra/infra.module.js';
import { ArrowConverter } from '../infra/arrow/arrow-converter.js';
import { ScratchFiles } from '../infra/scratch-files.js';
import { DamagedFiles } from '../tables/damaged-files.js';
import { TableRegistry } from '../tables/table-registry.js';
import { Admission } from './admission.js';
import { SqlAnalyser } from './analyse-sql.js';
import { MemoryWatch } from './bounds/memory-watch.js';
import { Cursors } from './cursors.js';
import { QueryConnections } from './query-connections.js';
import { QueryController } from './query.controller.js';
import { QueryStatistics } from './query-statistics.js';
import { QueryStreamCounts } from './query-stream-counts.js';
import { ReadPath } from './read-path.js';
import { ResultCache } from './result-cache.js';
import { ResultStreams } from './result-stream.js';
import { RunningQueries } from './running-queries.js';

/** Share of the time to stop that queries under way get: one in this many parts. */
const GRACE_PARTS = 3;
const POLL_MS = 20;

@Module({
  imports: [DataModule],
  controllers: [QueryController],
  providers: [
    QueryStatistics,
    QueryStreamCounts,
    { provide: RunningQueries, inject: [CLOCK], useFactory: (clock: Clock) => new RunningQueries(clock) },
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
    {
      provide: ReadPath,
      inject: [
        Config,
        CLOCK,
        LOGGER,
        Engine,
        TableRegistry,
        VisibleLsn,
        Admission,
        QueryConnections,
        Cursors,
        ResultCache,
        RunningQueries,
        QueryStatistics,
        SqlAnalyser,
        DamagedFiles,
        DATA_PATHS,
      ],
      useFactory: async (
        config: Config,
        clock: Clock,
        logger: Logger,
        engine: Engine,
        registry: TableRegistry,
        visible: VisibleLsn,
        admission: Admission,
        connections: QueryConnections,
        cursors: Cursors,
        results: ResultCache,
        running: RunningQueries,
        statistics: QueryStatistics,
        analyser: SqlAnalyser,
        damagedFiles: DamagedFiles,
        paths: DataPaths,
      ) => {
        const directories = Object.values(paths) as string[];
        const readPath = new ReadPath({
          config: config.query, slowQueryMs: config.log.slow_query_ms, clock, logger, engine, registry, visible, analyser, admission, connections, cursors, results, running, statistics, damagedFiles, directories,
        }); // prettier-ignore
        await readPath.open();
        return readPath;
      },
    },
    {
      provide: ResultStreams,
      inject: [ReadPath, ScratchFiles, ArrowConverter],
      useFactory: (readPath: ReadPath, scratch: ScratchFiles, arrow: ArrowConverter) => new ResultStreams(readPath, scratch, arrow),
    },
  ],
  exports: [DataModule, SqlAnalyser, Admission, Cursors, ResultCache, QueryStatistics, QueryStreamCounts],
})
export class QueryModule implements BeforeApplicationShutdown, OnApplicationShutdown {
  constructor(
    private readonly config: Config,
    private readonly running: RunningQueries,
    private readonly cursors: Cursors,
    private readonly connections: QueryConnections,
    private readonly memoryWatch: MemoryWatch,
    private readonly analyser: SqlAnalyser,
  ) {}

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
