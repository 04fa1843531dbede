/** Rows as JSON text, made by the engine. */
import { jsonRowsSql, type Prepared } from '../prepared-statement.js';
import type { PageRows } from '../query-answer.js';
import { parameterKinds, parameterTypes } from '../query-parameters.js';
import type { Running } from '../run-query.js';

/** Characters of a JSON page: it ends early, with a cursor, rather than take the memory of the server. */
export const PAGE_LENGTH_MAX = 32 * 1_024 * 1_024;

export async function jsonRows({ taken }: Running, prepared: Prepared, limit: number, offset: number): Promise<PageRows> {
  const { parameters } = prepared;
  const statement = await taken.statement(jsonRowsSql(prepared, `LIMIT ${limit} OFFSET ${offset}`), parameterKinds(parameters));
  statement.bind(parameters, parameterTypes(parameters));
  const stream = await statement.stream();
  const rows: string[] = [];
  let length = 0;
  for await (const chunk of stream) {
    for (const value of chunk.getColumnValues(0)) {
      const row = String(value);
      if (rows.length > 0 && length + row.length > PAGE_LENGTH_MAX) return { rows, isCut: true };
      rows.push(row);
      length += row.length;
    }
  }
  return { rows, isCut: false };
}
