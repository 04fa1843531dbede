/** Time travel: the tables as they were at a version or an instant. */
import { AppError, invalidArgument } from '../../common/app-error.js';
import type { ReadView } from '../../tables/view/read-view.js';
import type { Table } from '../../tables/table.js';

/** A table version, or milliseconds since 1970. */
export type AsOf = { readonly version: number } | { readonly instantMs: number };

/**
 * Reads `as_of` of a request: a whole number is a version, a text an instant.
 * @throws AppError INVALID_ARGUMENT for anything else
 */
export function parseAsOf(value: unknown): AsOf | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return { version: value };
  if (typeof value === 'string' && /^\d{1,15}$/.test(value)) return { version: Number(value) };
  if (typeof value === 'string' && /^\d{4}-\d\d-\d\dT.*(Z|[+-]\d\d:\d\d)$/i.test(value) && !Number.isNaN(Date.parse(value)))
    return { instantMs: Date.parse(value) };
  throw invalidArgument('as_of must be a version (a whole number) or an instant (RFC 3339 with a zone)', [{ field: 'as_of' }]);
}

/** @throws AppError INVALID_ARGUMENT when a version is asked of several tables, NOT_FOUND when the log does not reach back so far */
export async function pinAsOf(tables: readonly Table[], asOf: AsOf): Promise<Map<string, ReadView>> {
  if ('version' in asOf && tables.length > 1) {
    throw invalidArgument(`as_of is a version, but the query reads ${tables.length} tables, each with its own versions; send an instant`, [
      { field: 'as_of' },
    ]);
  }
  const views = new Map<string, ReadView>();
  try {
    for (const table of tables) {
      const version = 'version' in asOf ? asOf.version : await table.log.versionAt(table.snapshot, asOf.instantMs);
      if (version > table.snapshot.version)
        throw new AppError('NOT_FOUND', `table ${table.name} has no version ${version}; the newest is ${table.snapshot.version}`);
      views.set(table.name, await table.pinVersion(await table.log.load(version)));
    }
    return views;
  } catch (error) {
    for (const view of views.values()) view.release();
    throw error;
  }
}
