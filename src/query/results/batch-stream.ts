/**
 * A whole result, a batch at a time, each with the cursor of the row after it, so that a stream that broke can go on. A result too large to keep is
 * streamed all the same, without cursors.
 */
import { Injectable } from '@nestjs/common';
import { KeptResults, prepareKept, readingOf } from '../paging/kept-results.js';
import { TablePins } from '../pin-tables.js';
import { jsonRowsSql, type Prepared } from '../prepared-statement.js';
import type { Batch } from '../query-answer.js';
import { ResultTooLarge } from '../query-error.js';
import { parameterTypes, toParameters } from '../query-parameters.js';
import type { QueryRequest } from '../query-request.js';
import { type Plan, QueryRunner, type Running } from '../run-query.js';
import type { SqlAnalysis } from '../sql/analyse.js';
import { Understanding } from '../understand.js';
import { BatchChannel } from './batch-channel.js';

/** What is streamed, and from where. */
interface Source {
  readonly request: QueryRequest;
  readonly plan: Plan;
  readonly prepare: (running: Running) => Promise<Prepared>;
  /** Rows to leave out. */
  readonly position: number;
  readonly tokenAt: (row: number) => string;
}

@Injectable()
export class BatchStreams {
  constructor(
    private readonly understanding: Understanding,
    private readonly pins: TablePins,
    private readonly runner: QueryRunner,
    private readonly kept: KeptResults,
  ) {}

  async *batches(request: QueryRequest, batchRows: number): AsyncIterable<Batch> {
    const cursor = request.cursor === undefined || request.cursor === '' ? await this.#openResult(request) : request.cursor;
    yield* this.#stream(cursor === undefined ? await this.#unkept(request) : this.#fromCursor(request, cursor), batchRows);
  }

  /** @returns the cursor of the first row, or undefined when the result is too large to keep */
  async #openResult(request: QueryRequest): Promise<string | undefined> {
    const { plan, prepare, analysis } = await this.#fromStart(request);
    try {
      const { result } = await this.runner.run(request, { ...plan, isOpening: true }, async (running) => {
        const { id, isScan } = await this.kept.keep(running, await prepare(running), request, analysis);
        return { result: this.kept.token(id, 0), keepsViews: isScan };
      });
      return result;
    } catch (error) {
      if (error instanceof ResultTooLarge) return undefined;
      throw error;
    }
  }

  async #fromStart(request: QueryRequest): Promise<Pick<Source, 'plan' | 'prepare'> & { analysis: SqlAnalysis }> {
    const analysis = await this.understanding.analyse(request.sql);
    return {
      analysis,
      plan: { pin: () => this.pins.pin(analysis, request), mayAmplify: analysis.mayAmplify },
      prepare: (running) => this.understanding.prepare(running, request.sql, toParameters(request.params)),
    };
  }

  async #unkept(request: QueryRequest): Promise<Source> {
    return { ...(await this.#fromStart(request)), request, position: 0, tokenAt: () => '' };
  }

  #fromCursor(request: QueryRequest, cursor: string): Source {
    const { id, result, position } = this.kept.find(request, cursor);
    return {
      ...readingOf(request, result),
      prepare: (running) => prepareKept(this.understanding, running, result),
      position,
      tokenAt: (row) => this.kept.token(id, row),
    };
  }

  async *#stream(source: Source, batchRows: number): AsyncIterable<Batch> {
    const channel = new BatchChannel();
    let tables: readonly string[] = [];
    const work = this.runner
      .run(source.request, source.plan, async (running) => {
        tables = source.plan.keptTables ?? [...running.views.keys()];
        await fill(channel, running, await source.prepare(running), source.position);
        return { result: undefined };
      })
      .finally(() => channel.close());
    // Looked at below; until then a failure must not count as unhandled.
    work.catch(() => undefined);
    let at = source.position;
    let held: string[] = [];
    try {
      for await (const rows of channel.take()) {
        held.push(...rows);
        // One row is always held back, so that the last batch can say that it is the last.
        while (held.length > batchRows) {
          at += batchRows;
          yield { rows: held.slice(0, batchRows), cursor: source.tokenAt(at), hasMore: true, tables };
          held = held.slice(batchRows);
        }
      }
      await work;
      yield { rows: held, cursor: '', hasMore: false, tables };
    } finally {
      channel.close();
      await work.catch(() => undefined);
    }
  }
}

async function fill(channel: BatchChannel, { query, connection }: Running, prepared: Prepared, position: number): Promise<void> {
  query.onStop(() => channel.close());
  const { parameters } = prepared;
  const stream = await connection.stream(jsonRowsSql(prepared, `OFFSET ${position}`), parameters, parameterTypes(parameters));
  for await (const chunk of stream) {
    const rows = chunk.getColumnValues(0).map(String);
    if (rows.length > 0) await channel.put(rows);
    if (channel.isClosed) break;
  }
  // Its end must not look like the end of the result.
  query.assertGoesOn();
}
