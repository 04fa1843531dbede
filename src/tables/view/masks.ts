/**
 * Which stored or buffered rows are hidden, and since which LSN. One DuckDB table per user table: (source, pos, since, soft, changed), where a source is a
 * data file (pos is the row's position in it) or a buffer generation (pos is the row's LSN). Rows are only ever added and become deletion vectors
 * at the next commit. A query sees a row unless a mask with `since` up to the query's LSN covers it; that is how a row is visible exactly once
 * while updates, flushes and compactions run.
 */
import type { Engine, Row } from '../../engine/duckdb/engine.js';
import { asNumber } from '../../engine/duckdb/engine.js';
import { quoteText } from '../../engine/duckdb/sql-text.js';
import { softAsOf } from './row-sql.js';

/** Values in one INSERT of positions. */
const POSITIONS_IN_ONE_CALL = 500_000;

export interface MaskCount {
  hidden: number;
  /** Of the hidden ones, those that can be restored. */
  soft: number;
}

export class Masks {
  readonly #counts = new Map<number, MaskCount>();

  constructor(
    private readonly engine: Engine,
    /** DuckDB table, qualified. */
    readonly table: string,
  ) {}

  async create(): Promise<void> {
    await this.engine.run(`CREATE TABLE ${this.table} (source INTEGER, pos BIGINT, since BIGINT, soft BOOLEAN, changed BIGINT)`);
  }

  async destroy(): Promise<void> {
    await this.engine.run(`DROP TABLE IF EXISTS ${this.table}`);
  }

  isMasked(source: number): boolean {
    return this.#counts.has(source);
  }

  hiddenOf(source: number): number {
    return this.#counts.get(source)?.hidden ?? 0;
  }

  softOf(source: number): number {
    return this.#counts.get(source)?.soft ?? 0;
  }

  get hasSoft(): boolean {
    return [...this.#counts.values()].some((count) => count.soft > 0);
  }

  /** Takes positions that the table's log hides already. */
  async load(source: number, positions: readonly number[], soft: ReadonlySet<number>): Promise<void> {
    const isSoft = (position: number): boolean => soft.has(position);
    await this.#insert(source, positions.filter(isSoft), true);
    await this.#insert(
      source,
      positions.filter((position) => !isSoft(position)),
      false,
    );
    if (positions.length > 0) this.count(source, positions.length, soft.size);
  }

  async #insert(source: number, positions: readonly number[], soft: boolean): Promise<void> {
    for (let start = 0; start < positions.length; start += POSITIONS_IN_ONE_CALL) {
      const list = quoteText(JSON.stringify(positions.slice(start, start + POSITIONS_IN_ONE_CALL)));
      await this.engine.run(`INSERT INTO ${this.table} SELECT ${source}, unnest(from_json(${list}, '["BIGINT"]')), 0, ${soft}, 0`);
    }
  }

  /** Notes that masks were added (negative: taken away) by a statement of the caller. */
  count(source: number, hidden: number, soft: number): void {
    const count = this.#counts.get(source) ?? { hidden: 0, soft: 0 };
    count.hidden += hidden;
    count.soft += soft;
    this.#counts.set(source, count);
  }

  /**
   * Runs a statement that adds masks and ends in RETURNING source, soft, since, and notes them.
   * @returns rows newly hidden, by the LSN that hid them
   */
  async add(insert: string): Promise<Map<number, number>> {
    const hiddenAt = new Map<number, number>();
    for (const row of await this.engine.rows(insert)) {
      this.count(asNumber(row['source']), 1, row['soft'] === true ? 1 : 0);
      const at = asNumber(row['since']);
      hiddenAt.set(at, (hiddenAt.get(at) ?? 0) + 1);
    }
    return hiddenAt;
  }

  /**
   * Runs a SELECT of masks that all begin at one LSN, as many as there may be, and notes them.
   * @returns rows newly hidden
   */
  async addAt(lsn: number, select: string): Promise<number> {
    await this.engine.run(`INSERT INTO ${this.table} ${select}`);
    let total = 0;
    const rows = await this.engine.rows(`SELECT source, count(*) AS n FROM ${this.table} WHERE since = ${lsn} GROUP BY source`);
    for (const row of rows) {
      const hidden = asNumber(row['n']);
      this.count(asNumber(row['source']), hidden, 0);
      total += hidden;
    }
    return total;
  }

  /**
   * Rows that were restored or deleted for good cannot be restored any more.
   * @param rows a SELECT of source, position and the LSN of the change; rows that cannot be restored at that LSN stay as they are
   * @returns the LSN of each change
   */
  async harden(rows: string): Promise<number[]> {
    const hardened = await this.engine.rows(
      `UPDATE ${this.table} AS m SET soft = false, changed = s.changed FROM (${rows}) s(source, pos, changed)
       WHERE m.source = s.source AND m.pos = s.pos AND m.soft AND m.since < s.changed RETURNING m.source, m.changed`,
    );
    for (const row of hardened) this.count(asNumber(row['source']), 0, -1);
    return hardened.map((row) => asNumber(row['changed']));
  }

  /** Positions of a source hidden at or before an LSN, sorted, and which of them are soft. */
  async positions(source: number, lsn: number): Promise<{ all: number[]; soft: number[] }> {
    const rows = await this.engine.rows(
      `SELECT m.pos, ${softAsOf(String(lsn))} AS soft FROM ${this.table} m WHERE m.source = ${source} AND m.since <= ${lsn} ORDER BY m.pos`,
    );
    return { all: rows.map(positionOf), soft: rows.filter((row) => row['soft'] === true).map(positionOf) };
  }

  /** Sources whose masks changed after one LSN and up to another. */
  async changedSources(afterLsn: number, lsn: number): Promise<number[]> {
    const rows = await this.engine.rows(
      `SELECT DISTINCT source FROM ${this.table} WHERE changed > ${afterLsn} AND changed <= ${lsn} ORDER BY source`,
    );
    return rows.map((row) => asNumber(row['source']));
  }

  /** The first LSN above another at which a mask changed. */
  async firstChangeAfter(lsn: number): Promise<number | undefined> {
    const { first } = await this.engine.row(`SELECT min(changed) AS first FROM ${this.table} WHERE changed > ${lsn}`);
    return first === null ? undefined : asNumber(first);
  }

  /** Forgets sources that no query can ask for any more. */
  async forget(sources: readonly number[]): Promise<void> {
    const masked = sources.filter((source) => this.#counts.delete(source));
    if (masked.length > 0) await this.engine.run(`DELETE FROM ${this.table} WHERE source IN (${masked.join()})`);
  }
}

function positionOf(row: Row): number {
  return asNumber(row['pos']);
}
