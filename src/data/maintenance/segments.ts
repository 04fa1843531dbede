/** How the rows of files that are merged are cut into new files: by day, or by id where the table's layout asks for it. */
import { Injectable } from '@nestjs/common';
import { asNumber, Engine } from '../../engine/duckdb/engine.js';
import { quoteText } from '../../engine/duckdb/sql-text.js';
import { ID_COLUMN, TIMESTAMP_COLUMN } from '../../delta/table-schema.js';
import { type RowSources, selectRows } from '../../tables/view/row-sql.js';
import type { Table } from '../../tables/table.js';
import { SHARD } from '../flush/data-files.js';
import type { Segment } from './rewrite.js';
import { TIME_UNITS, type TimeUnit, unitStart } from './time-unit.js';

/** Days, months or years get files of their own from this many rows on, in the mean. */
const SEGMENT_ROWS_MIN = 10_000;
const SEGMENTS_MAX = 64;

@Injectable()
export class Segments {
  constructor(private readonly engine: Engine) {}

  async of(table: Table, sources: RowSources): Promise<Segment[]> {
    const byId = table.config.layout === 'id' ? await this.#byId(table, sources) : undefined;
    return byId ?? this.#byTime(sources);
  }

  async #byId(table: Table, sources: RowSources): Promise<Segment[] | undefined> {
    const ids = (await this.#groupBy(sources, ID_COLUMN)).map(({ value }) => value);
    if (ids.length > SEGMENTS_MAX || !ids.every((id) => /^[A-Za-z0-9_-]+$/.test(id))) return undefined;
    return ids.map((id) => ({ where: `${ID_COLUMN} = ${quoteText(id)}`, middle: id, dayMs: table.snapshot.timestampMs }));
  }

  /** By day, or by longer spans where days have few rows; see `compaction-plan.ts` for why the cuts are those of the calendar. */
  async #byTime(sources: RowSources): Promise<Segment[]> {
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
