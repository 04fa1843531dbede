/** Reads the newest visible row of ids, for merging fields into it: the greatest timestamp, and of equal ones the last written. */
import { AppError } from '../../common/app-error.js';
import { isJsonObject, parseJson } from '../../common/json.js';
import type { Engine } from '../../engine/duckdb/engine.js';
import { quoteName, quoteText } from '../../engine/duckdb/sql-text.js';
import { type Column, LSN_COLUMN, TIMESTAMP_COLUMN } from '../../delta/table-schema.js';
import { selectRows } from '../../tables/view/row-sql.js';
import type { Table } from '../../tables/table.js';
import { idCondition, mayHoldIds } from './find-rows.js';

export interface NewestRow {
  readonly timestamp: string;
  readonly payload: Record<string, unknown>;
}

export async function newestRows(engine: Engine, table: Table, ids: readonly string[]): Promise<Map<string, NewestRow>> {
  const view = table.pin(Number.MAX_SAFE_INTEGER);
  try {
    const sources = await view.sources(undefined, mayHoldIds(ids));
    const rows = selectRows(sources, { columns: view.schema.columns, withPlace: true, rows: 'visible', where: idCondition(ids) });
    const members = view.schema.payloadColumns.map((column) => `${quoteText(column.name)}, ${asJson(column)}`);
    const newest = await engine.rows(
      `SELECT id, ${asJson({ name: TIMESTAMP_COLUMN, type: 'TIMESTAMPTZ', fieldId: 2 })} AS t, json_object(${members.join(', ')})::VARCHAR AS payload
       FROM (${rows}) QUALIFY row_number() OVER (PARTITION BY id ORDER BY ${quoteName(TIMESTAMP_COLUMN)} DESC, ${LSN_COLUMN} DESC) = 1`,
    );
    return new Map(newest.map((row) => [String(row['id']), { timestamp: String(row['t']), payload: payloadOf(String(row['payload'])) }]));
  } catch (error) {
    throw await view.explained(error);
  } finally {
    view.release();
  }
}

/** A stored value as the JSON that would store it again. */
function asJson(column: Column): string {
  const name = quoteName(column.name);
  if (column.type === 'TIMESTAMPTZ') return `strftime(${name}, '%Y-%m-%dT%H:%M:%S.%fZ')`;
  if (column.type.startsWith('DECIMAL')) return `${name}::VARCHAR`;
  return name;
}

function payloadOf(text: string): Record<string, unknown> {
  const payload = parseJson(text, 'a stored row');
  if (!isJsonObject(payload)) throw new AppError('INTERNAL', 'a stored row is not an object');
  return payload;
}
