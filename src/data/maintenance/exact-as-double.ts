/** Which integers a double holds: all up to 2^53, and not all above. */
import { asNumber, type Engine } from '../../engine/duckdb/engine.js';
import { quoteName } from '../../engine/duckdb/sql-text.js';

const EXACT_MAX = 2 ** 53;

/** The columns of a relation that hold an integer which a double does not. */
export async function inexactColumns(engine: Engine, relation: string, columns: readonly string[]): Promise<string[]> {
  if (columns.length === 0) return [];
  const counts = columns.map(
    (name, index) => `count(*) FILTER (WHERE ${quoteName(name)} NOT BETWEEN ${-EXACT_MAX} AND ${EXACT_MAX}) AS c${index}`,
  );
  const row = await engine.row(`SELECT ${counts.join(', ')} FROM ${relation}`);
  return columns.filter((_name, index) => asNumber(row[`c${index}`]) > 0);
}
