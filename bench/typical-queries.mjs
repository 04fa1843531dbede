/** Six typical queries over HTTP, each run with other constants; no-cache has the server run every one of them. */
import { isDeepStrictEqual } from 'node:util';
import { idOf, timeOf } from './day-rows.mjs';
import { callText } from './rest.mjs';
import { geometricMean, median } from './statistics.mjs';

const WARM_UPS = 2;
const RUNS = 9;
/** Rows that the range of times spans. */
const RANGE_ROWS = 25_000;

/** SQL of a query, by the table, its rows, and the number of the run. */
export const QUERIES = {
  count: (table, _rows, run) => `SELECT count(*) AS n, ${run} AS run FROM ${table}`,
  'range of times': (table, rows, run) => {
    const from = spread(rows - RANGE_ROWS, run);
    const range = `timestamp >= '${timeOf(from)}' AND timestamp < '${timeOf(from + RANGE_ROWS)}'`;
    return `SELECT count(*) AS n, max(amount) AS highest FROM ${table} WHERE ${range}`;
  },
  'one id': (table, rows, run) => `SELECT * FROM ${table} WHERE id = '${idOf(spread(rows, run))}'`,
  'eight groups': (table, _rows, run) =>
    `SELECT country, count(*) AS n, sum(amount) AS total, ${run} AS run FROM ${table} GROUP BY country ORDER BY country`,
  'newest ten': (table, _rows, run) => `SELECT id, country, amount, ${run} AS run FROM ${table} ORDER BY timestamp DESC, id LIMIT 10`,
  'filtered sum': (table, _rows, run) => `SELECT sum(amount) AS total FROM ${table} WHERE country = 'DE' AND user_id < ${20_000 + run}`,
};

/** @returns the answer's rows and its milliseconds */
export async function ask(url, sql) {
  const startedAt = performance.now();
  const answer = JSON.parse(await callText(url, 'POST', '/v1/query', { sql }, { 'cache-control': 'no-cache' }));
  return { rows: answer.rows, elapsedMs: performance.now() - startedAt };
}

/**
 * Asks every query of every table, the tables in turn, so that all meet the same state of the machine.
 * @param otherConstants false: the same text each time, whose plan the server may keep
 * @returns for each table the p50 of each query, and the answers of all runs
 */
export async function timesOf(url, tables, rows, otherConstants = true) {
  const measured = tables.map(() => ({ times: [], answers: [] }));
  for (const query of Object.values(QUERIES)) {
    const elapsed = tables.map(() => []);
    for (let run = -WARM_UPS; run < RUNS; run++) {
      for (const [index, table] of tables.entries()) {
        const asked = await ask(url, query(table, rows, otherConstants ? run + WARM_UPS : 0));
        measured[index].answers.push(asked.rows);
        if (run >= 0) elapsed[index].push(asked.elapsedMs);
      }
    }
    elapsed.forEach((list, index) => measured[index].times.push(median(list)));
  }
  return measured;
}

export function assertSameAnswers(one, other, what) {
  const index = one.answers.findIndex((rows, at) => !isDeepStrictEqual(rows, other.answers[at]));
  if (index >= 0) throw new Error(`${what}: ${JSON.stringify(one.answers[index])} is not ${JSON.stringify(other.answers[index])}`);
}

/** How many times as long as another table's: of each query, on the geometric mean, and of the one that is slowest. */
export function compareTimes({ times }, other) {
  const ratios = times.map((time, index) => time / other.times[index]);
  const worst = ratios.indexOf(Math.max(...ratios));
  return { ratios, mean: geometricMean(ratios), worst: `${Object.keys(QUERIES)[worst]} ${ratios[worst].toFixed(2)}` };
}

/** A row somewhere in the table, another for each run. */
function spread(rows, run) {
  return (run * 7_919_993 + 54_321) % rows;
}
