/**
 * A table in memory that follows the documented rules of writes, deletes and recoveries, and nothing else: what the server must answer after a random
 * history. Rows stand in the order of their writing.
 */
export interface ModelRow {
  readonly id: string;
  readonly micros: bigint;
  /** No two writes have the same. */
  readonly n: number;
}

/** All that is given must hold. */
export interface ModelRange {
  readonly ids?: readonly string[];
  /** A glob: * ? [ab] [a-z]. */
  readonly idPattern?: string;
  /** The first instant that is in. */
  readonly fromMicros?: bigint;
  /** The first instant that is not. */
  readonly toMicros?: bigint;
}

export type WriteMode = 'append' | 'upsert';

export class ModelTable {
  visible: readonly ModelRow[] = [];
  /** Soft-deleted. */
  soft: readonly ModelRow[] = [];

  constructor(readonly mode: WriteMode) {}

  /** An upsert table keeps the last row of an id. */
  write(row: ModelRow): void {
    if (this.mode === 'upsert') this.#hide([row.id]);
    this.visible = [...this.visible, row];
  }

  replace(row: ModelRow): void {
    this.#hide([row.id]);
    this.visible = [...this.visible, row];
  }

  /** @returns rows that went out of sight */
  delete(ids: readonly string[], isSoft: boolean): number {
    const gone = this.#hide(ids);
    this.soft = isSoft ? [...this.soft, ...gone] : this.soft.filter(({ id }) => !ids.includes(id));
    return gone.length;
  }

  #hide(ids: readonly string[]): readonly ModelRow[] {
    const gone = this.visible.filter(({ id }) => ids.includes(id));
    this.visible = this.visible.filter((row) => !gone.includes(row));
    return gone;
  }

  /**
   * What a recovery does with rows of the source that fit its range.
   * @param matching in the order of their writing
   * @returns the rows that come in
   */
  recover(matching: readonly ModelRow[], range: ModelRange, overwrite: boolean): readonly ModelRow[] {
    const candidates = this.mode === 'upsert' ? newestOfEachId(matching) : matching;
    const coming = overwrite ? candidates : candidates.filter((row) => !this.visible.some((present) => this.#isThere(row, present)));
    if (overwrite) {
      const isReplaced = (row: ModelRow): boolean =>
        isInRange(row, range) || (this.mode === 'upsert' && coming.some(({ id }) => id === row.id));
      this.visible = this.visible.filter((row) => !isReplaced(row));
    }
    this.visible = [...this.visible, ...coming];
    return coming;
  }

  #isThere(row: ModelRow, present: ModelRow): boolean {
    return row.id === present.id && (this.mode === 'upsert' || row.micros === present.micros);
  }
}

function newestOfEachId(rows: readonly ModelRow[]): ModelRow[] {
  return [...new Map(rows.map((row) => [row.id, row])).values()];
}

export function isInRange({ id, micros }: ModelRow, { ids, idPattern, fromMicros, toMicros }: ModelRange): boolean {
  if (ids && !ids.includes(id)) return false;
  if (idPattern !== undefined && !globExpression(idPattern).test(id)) return false;
  return (fromMicros === undefined || micros >= fromMicros) && (toMicros === undefined || micros < toMicros);
}

/** For patterns of ids of letters and digits. */
function globExpression(pattern: string): RegExp {
  return new RegExp(`^${pattern.replaceAll('*', '.*').replaceAll('?', '.')}$`);
}

/** Rows as the tests compare them, sorted. */
export function modelTexts(rows: readonly ModelRow[]): string[] {
  return rows.map(({ id, micros, n }) => `${id} ${instantText(micros)} ${n}`).sort();
}

/** RFC 3339 with microseconds. */
export function instantText(micros: bigint): string {
  const rest = ((micros % 1_000_000n) + 1_000_000n) % 1_000_000n;
  return `${new Date(Number((micros - rest) / 1_000n)).toISOString().slice(0, 19)}.${String(rest).padStart(6, '0')}Z`;
}
