/** One question to both engines: prints our answer as a table, and whether DuckDB gives the same. */
import { isDeepStrictEqual } from 'node:util';
import { callJson } from './rest.mjs';

/** @returns {Promise<boolean>} whether the answers are equal: the same columns and values in the same order */
export async function ask(url, reference, { title, sql }, screen) {
  screen.title(title);
  const startedAt = performance.now();
  const ours = await callJson(url, 'POST', '/v1/query', { sql });
  const oursAt = performance.now();
  const theirs = await reference.answer(sql);
  const theirsAt = performance.now();
  const columns = ours.columns.map((column) => column.name);
  screen.table({ columns, rows: ours.rows });
  const isEqual =
    !ours.has_more &&
    isDeepStrictEqual(columns, theirs.columns) &&
    isDeepStrictEqual(valuesOf(ours.rows, columns), valuesOf(theirs.rows, columns));
  const times = `${screen.integer(oursAt - startedAt)} ms over HTTP, ${screen.integer(theirsAt - oursAt)} ms DuckDB on the source files`;
  screen.verdict(isEqual, `equal to DuckDB: ${isEqual ? 'yes' : 'no'}`, times);
  if (!isEqual) screen.table({ columns: theirs.columns, rows: theirs.rows });
  return isEqual;
}

/** Whole numbers come as numbers from one side and as text from the other; all here are below 2^53, so their text decides. */
function valuesOf(rows, columns) {
  return rows.map((row) => columns.map((column) => (row[column] === null ? null : String(row[column]))));
}
