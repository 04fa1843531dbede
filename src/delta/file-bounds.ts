/** Bounds of a column in a data file. They are remembered: queries and changes by id ask for the same few columns of all files again and again. */
import { type Column, TIMESTAMP_COLUMN } from './table-schema.js';
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

/** The least and the greatest value of a column, hidden rows included; of times in microseconds since 1970. */
export interface Extremes {
  readonly min: bigint;
  readonly max: bigint;
}

/** @returns undefined where the log does not have the values themselves, or the column has none in this file */
export function extremesOf(file: DataFile, { name, type }: Column): Extremes | undefined {
  if (name === TIMESTAMP_COLUMN) return file.times && { min: BigInt(file.times.first), max: BigInt(file.times.last) };
  if (type !== 'BIGINT' && type !== 'INTEGER') return undefined;
  const { min, max } = boundsOf(file, name);
  // Beyond 2^53 they were rounded when the text was read.
  return Number.isSafeInteger(min) && Number.isSafeInteger(max) ? { min: BigInt(min as number), max: BigInt(max as number) } : undefined;
}
