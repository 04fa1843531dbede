/** Bounds of a column in a data file. They are remembered: queries and changes by id ask for the same few columns of all files again and again. */
import type { DataFile } from './snapshot.js';

export class ColumnBounds {
  #utf8: Utf8Bounds | null | undefined;

  /** As the log has them: text, number, or undefined where it has none. */
  constructor(
    readonly min: unknown,
    readonly max: unknown,
  ) {}

  /** Of a column with text: as UTF-8, because that is how the engine compares it; UTF-16, JavaScript's order, differs beyond the first plane. */
  get utf8(): Utf8Bounds | undefined {
    if (this.#utf8 === undefined) {
      const { min, max } = this;
      this.#utf8 = typeof min === 'string' && typeof max === 'string' ? { min: Buffer.from(min), max: Buffer.from(max) } : null;
    }
    return this.#utf8 ?? undefined;
  }
}

export interface Utf8Bounds {
  readonly min: Buffer;
  readonly max: Buffer;
}

const known = new WeakMap<DataFile, Map<string, ColumnBounds>>();

export function boundsOf(file: DataFile, column: string): ColumnBounds {
  let byColumn = known.get(file);
  if (!byColumn) known.set(file, (byColumn = new Map<string, ColumnBounds>()));
  let bounds = byColumn.get(column);
  if (!bounds) {
    const { minValues, maxValues } = JSON.parse(file.stats ?? '{}') as Partial<Record<string, Record<string, unknown>>>;
    byColumn.set(column, (bounds = new ColumnBounds(minValues?.[column], maxValues?.[column])));
  }
  return bounds;
}
