/** Merges and purges data files: plan → write → commit → publish. Reading and writing go on meanwhile; see `rewrite.ts` for how deletes follow. */
import { Inject, Injectable } from '@nestjs/common';
import { CLOCK, LEASE_STORE, LOGGER } from '../../common/tokens.js';
import { AppError } from '../../common/app-error.js';
import type { Clock } from '../../common/clock.js';
import { MaintenanceConfig } from '../../config/config.js';
import type { Logger } from '../../common/logger.js';
import { traced } from '../../common/tracing.js';
import type { Lease, LeaseStore } from '../../coordination/lease.js';
import { asNumber, Engine } from '../../engine/duckdb/engine.js';
import { quoteText } from '../../engine/duckdb/sql-text.js';
import type { DataFile } from '../../delta/snapshot.js';
import { ID_COLUMN, TIMESTAMP_COLUMN } from '../../delta/table-schema.js';
import { type RowSources, selectRows } from '../../tables/view/row-sql.js';
import type { Table } from '../../tables/table.js';
import { Freshness } from '../freshness.js';
import { NOTHING_FETCHED } from '../follow-path.js';
import { SHARD } from '../flush/data-files.js';
import { WriteAheadLog } from '../wal/write-ahead-log.js';
import { GroupCommit } from '../write/group-commit.js';
import { WriterFailure } from '../write/writer-failure.js';
import { type CompactionRules, planCompaction } from './compaction-plan.js';
import { Rewriter, type Segment } from './rewrite.js';
import { TIME_UNITS, type TimeUnit, unitStart } from './time-unit.js';

/** Days, months or years get files of their own from this many rows on, in the mean. */
const SEGMENT_ROWS_MIN = 10_000;
const SEGMENTS_MAX = 64;
const LEASE_MS = 600_000;
/** Merges in one run, so that one table does not keep the others waiting. */
const GROUPS_IN_ONE_RUN_MAX = 32;

export interface CompactionResult {
  readonly files_before: number;
  readonly files_after: number;
  readonly rows_purged: number;
}

@Injectable()
export class Compaction {
  constructor(
    private readonly config: MaintenanceConfig,
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly engine: Engine,
    @Inject(LEASE_STORE) private readonly leases: LeaseStore,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly rewriter: Rewriter,
    private readonly groupCommit: GroupCommit,
    private readonly failure: WriterFailure,
    private readonly wal: WriteAheadLog,
    private readonly freshness: Freshness,
  ) {}

  /** @param isForced merges whatever can be merged, instead of what is worth it by itself */
  async run(table: Table, isForced: boolean): Promise<CompactionResult> {
    const lease = await this.leases.acquire(`compaction:${table.id}`, LEASE_MS);
    const before = table.snapshot.files.size;
    const rowsBefore = physicalRows(table);
    if (!lease) return { files_before: before, files_after: before, rows_purged: 0 };
    try {
      const groups = this.#plan(table, isForced).slice(0, GROUPS_IN_ONE_RUN_MAX);
      for (const group of groups)
        if (!table.isDropped && lease.isHeld())
          await traced('merge', { 'miniodb.table': table.name, 'miniodb.files': group.length }, () => this.#merge(table, group, lease));
      const result = {
        files_before: before,
        files_after: table.snapshot.files.size,
        rows_purged: Math.max(0, rowsBefore - physicalRows(table)),
      };
      if (groups.length > 0) this.logger.info(result, `${table.logLabel} compacted`);
      return result;
    } finally {
      await lease.release();
    }
  }

  #plan(table: Table, isForced: boolean): DataFile[][] {
    const { config } = this;
    const rules: CompactionRules = {
      targetFileBytes: config.target_file_bytes,
      filesMin: config.compaction_files_min,
      deletedShareMax: config.deleted_share_max,
      layout: table.config.layout,
      isForced,
    };
    return planCompaction(table.snapshot.files.values(), rules);
  }

  /** How long the oldest file has waited that is worth merging or purging; 0 without one. */
  waitingMs(table: Table): number {
    const files = this.#plan(table, false).flat();
    return files.length === 0 ? 0 : Math.max(0, this.clock.nowMs() - oldestMs(files));
  }

  async #merge(table: Table, group: readonly DataFile[], lease: Lease): Promise<void> {
    // What is committed and nothing later: a replay after a crash must find the rows that later deletes and restores speak of.
    const view = table.pin(table.committedLsn(this.wal.id));
    try {
      const live = group.filter((file) => table.snapshot.files.has(file.path));
      if (live.length === 0) return;
      const { rewriter, groupCommit, failure } = this;
      const rewrite = await rewriter.write(table, view, live, (sources) => this.#segments(table, sources), view.schema);
      try {
        await table.commits.run(async () => {
          if (!lease.isHeld()) throw new AppError('CONFLICT', `table ${table.name}: the lease for its compaction was lost`);
          const snapshot = await rewriter.commit(rewrite, { name: 'OPTIMIZE', parameters: { files: String(live.length) } });
          // Nothing is fetched for a commit of our own: its files are known, and what others committed was shown before it.
          await groupCommit
            .exclusive(() => rewriter.publish(rewrite, snapshot, NOTHING_FETCHED))
            .catch((error: unknown) => {
              failure.fail(`table ${table.name}: a compaction could not be shown to readers`, error);
              throw error;
            });
        });
        this.freshness.note('compacted', this.clock.nowMs() - oldestMs(live));
      } finally {
        await rewriter.close(rewrite);
      }
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }

  /** How the rows of a group are cut into files: by day, or by id where the table's layout asks for it. */
  async #segments(table: Table, sources: RowSources): Promise<Segment[]> {
    const byId = table.config.layout === 'id' ? await this.#segmentsById(table, sources) : undefined;
    return byId ?? this.#segmentsByTime(sources);
  }

  async #segmentsById(table: Table, sources: RowSources): Promise<Segment[] | undefined> {
    const ids = (await this.#groupBy(sources, ID_COLUMN)).map(({ value }) => value);
    if (ids.length > SEGMENTS_MAX || !ids.every((id) => /^[A-Za-z0-9_-]+$/.test(id))) return undefined;
    return ids.map((id) => ({ where: `${ID_COLUMN} = ${quoteText(id)}`, middle: id, dayMs: table.snapshot.timestampMs }));
  }

  /** By day, or by longer spans where days have few rows; see `compaction-plan.ts` for why the cuts are those of the calendar. */
  async #segmentsByTime(sources: RowSources): Promise<Segment[]> {
    const days = await this.#groupBy(sources, `epoch_ms(date_trunc('day', "${TIMESTAMP_COLUMN}"))`);
    const rowsTotal = days.reduce((sum, day) => sum + day.rows, 0);
    const startsOf = (unit: TimeUnit): number[] => [...new Set(days.map(({ value }) => unitStart(unit, Number(value))))];
    const starts = TIME_UNITS.map(startsOf).find((units) => units.length <= Math.min(SEGMENTS_MAX, rowsTotal / SEGMENT_ROWS_MIN));
    if (!starts) return days.slice(0, 1).map(({ value }) => ({ where: '', middle: SHARD, dayMs: Number(value) }));
    return starts.map((fromMs, index) => {
      const toMs = starts[index + 1];
      const from = index === 0 ? '' : `"${TIMESTAMP_COLUMN}" >= ${instant(fromMs)}`;
      const to = toMs === undefined ? '' : `"${TIMESTAMP_COLUMN}" < ${instant(toMs)}`;
      return { where: [from, to].filter((part) => part !== '').join(' AND '), middle: SHARD, dayMs: fromMs };
    });
  }

  /** Values of an expression over all rows that have to be kept, with how many rows have each, in order. */
  async #groupBy(sources: RowSources, expression: string): Promise<{ value: string; rows: number }[]> {
    const { columns } = sources.schema;
    const select = (rows: 'visible' | 'soft'): string =>
      `SELECT ${expression} AS value FROM (${selectRows(sources, { columns: columns.slice(0, 2), withPlace: false, rows })})`;
    const rows = await this.engine.rows(
      `SELECT value, count(*) AS n FROM (${select('visible')} UNION ALL ${select('soft')}) GROUP BY value ORDER BY value`,
    );
    return rows.map((row) => ({ value: String(row['value']), rows: asNumber(row['n']) }));
  }
}

function instant(ms: number): string {
  return `make_timestamptz(${ms * 1_000})`;
}

/** When the oldest of some files was written. */
function oldestMs(files: readonly DataFile[]): number {
  return files.reduce((oldest, { add }) => Math.min(oldest, add.modificationTime), Infinity);
}

function physicalRows(table: Table): number {
  return [...table.snapshot.files.values()].reduce((sum, file) => sum + file.rows, 0);
}
