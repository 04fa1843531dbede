/** The first rows of a result, by the quickest way there is: from the table's log, printed here when few, or made as JSON text by the engine. */
import { Injectable } from '@nestjs/common';
import { Engine } from '../../engine/duckdb/engine.js';
import type { FirstRows } from '../query-answer.js';
import { hasNone, type QueryParameters, toParameters } from '../query-parameters.js';
import type { QueryRequest } from '../query-request.js';
import type { Running } from '../run-query.js';
import { type SqlAnalysis, withoutEnd } from '../sql/analyse.js';
import { summarySql } from '../sql/summary.js';
import { Understanding } from '../understand.js';
import { jsonRows, PAGE_LENGTH_MAX } from './json-rows.js';
import { promisesFewValues, runSmall } from './small-result.js';

@Injectable()
export class FirstRowsReader {
  constructor(
    private readonly engine: Engine,
    private readonly understanding: Understanding,
  ) {}

  /** @param limit of the page; one row more is read, if there is one */
  async read(running: Running, request: QueryRequest, analysis: SqlAnalysis, limit: number): Promise<FirstRows> {
    const parameters = toParameters(request.params);
    // The same result from the log, where that knows it.
    const summary = hasNone(parameters) ? await summaryFrom(analysis, running) : undefined;
    const isSmall = summary !== undefined || promisesFewValues(analysis, running.views, limit);
    const isNamed = summary === undefined || analysis.summary?.every(({ name }) => name !== undefined) === true;
    const small = isSmall && isNamed ? await this.#small(running, summary ?? request.sql, parameters, limit + 1) : undefined;
    if (small) return small;
    const prepared = await this.understanding.prepare(running, request.sql, parameters);
    const answered = summary === undefined ? prepared : { ...prepared, sql: summary };
    return { prepared: answered, ...(await jsonRows(running, answered, limit + 1, 0)) };
  }

  async #small(running: Running, sql: string, parameters: QueryParameters, limit: number): Promise<FirstRows | undefined> {
    try {
      return await runSmall(running, await withoutEnd(this.engine, sql), parameters, limit, PAGE_LENGTH_MAX);
    } catch (error) {
      running.query.assertGoesOn();
      // What is wrong with the statement or its parameters is reported against the caller's own text.
      await this.understanding.prepare(running, sql, parameters);
      throw error;
    }
  }
}

async function summaryFrom({ summary }: SqlAnalysis, { views }: Running): Promise<string | undefined> {
  const [view] = views.values();
  return summary && view && !view.isFiltered ? summarySql(summary, view) : undefined;
}
