/** Bounds of a column in a data file. They are remembered: queries and changes by id ask for the same few columns of all files again and again. */
import type { DataFile } from './snapshot.js';

/** As the log has them: text, number, or undefined where it has none. */
export interface ColumnBounds {
  readonly min: unknown;
  readonly max: unknown;
}

const known = new WeakMap<DataFile, Map<string, ColumnBounds>>();

export function boundsOf(file: DataFile, column: string): ColumnBounds {
  let byColumn = known.get(file);
  if (!byColumn) known.set(file, (byColumn = new Map<string, ColumnBounds>()));
  let bounds = byColumn.get(column);
  if (!bounds) {
    const { minValues, maxValues } = JSON.parse(file.stats ?? '{}') as Partial<Record<string, Record<string, unknown>>>;
    byColumn.set(column, (bounds = { min: minValues?.[column], max: maxValues?.[column] }));
  }
  return bounds;
}
