/** Finds hidden rows of files again in the files that replaced them: the same row has the same LSN. */
import { LSN_COLUMN } from '../../delta/table-schema.js';
import { type OpenFile, readLsns } from '../../tables/view/row-sql.js';
import type { Table } from '../../tables/table.js';

/**
 * SQL of the masks of old files as masks of new ones.
 * @param condition on a mask `m` of an old file
 * @param values of the new mask, after its source and position
 */
export function movedMasks(
  table: Table,
  old: readonly OpenFile[],
  files: readonly Pick<OpenFile, 'path' | 'source' | 'lsnBase'>[],
  condition: string,
  values: string,
): string {
  const list = (entries: readonly Pick<OpenFile, 'source' | 'lsnBase'>[]): string =>
    entries.map(({ source, lsnBase }, index) => `(${index}, ${source}, ${lsnBase ?? 'NULL'}::BIGINT)`).join(', ');
  const rowsOf = (entries: readonly Pick<OpenFile, 'path' | 'source' | 'lsnBase'>[]): string =>
    `SELECT f.source, r.file_row_number AS pos, coalesce(f.base + r.file_row_number, r.${LSN_COLUMN}) AS lsn
     FROM ${readLsns(entries.map((file) => file.path))} r JOIN (VALUES ${list(entries)}) f(i, source, base) ON f.i = r.file_index`;
  return `SELECT n.source, n.pos, ${values} FROM (${rowsOf(files)}) n
    JOIN (${rowsOf(old)} SEMI JOIN ${table.masks.table} k ON k.source = f.source AND k.pos = r.file_row_number) o ON o.lsn = n.lsn
    JOIN ${table.masks.table} m ON m.source = o.source AND m.pos = o.pos WHERE ${condition}`;
}

/** Inserts masks that a SELECT gives, for `Masks.add`. */
export function insertMasks(table: Table, masks: string): string {
  return `INSERT INTO ${table.masks.table} ${masks} RETURNING source, soft, since`;
}
