/**
 * A bulk body as a Parquet file: at once, by the engine, where everything fits at first sight; else line by line, which says which row and field does
 * not.
 */
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from '../../common/logger.js';
import { LOGGER } from '../../common/tokens.js';
import { traced } from '../../common/tracing.js';
import { LimitsConfig } from '../../config/config.js';
import { type TableSchema, TIMESTAMP_COLUMN } from '../../delta/table-schema.js';
import { Engine } from '../../engine/duckdb/engine.js';
import { quoteName, quoteText } from '../../engine/duckdb/sql-text.js';
import { ScratchFiles } from '../../storage/scratch-files.js';
import { isNoDefaultId } from '../../tables/id-rule.js';
import { Table } from '../../tables/table.js';
import { Widening } from '../maintenance/widening.js';
import { type EncodedRequest, encodeRecords, type EncodeRules, WideningNeeded } from '../write/encode-records.js';
import { EncodeRulesOfTables } from '../write/encode-rules.js';
import type { RecordInput } from '../write/record.js';
import { strategyFor, type TableDraft } from '../write/target.js';
import { RowsOutdated } from '../write/write-command.js';
import type { BulkBody, BulkLines, BulkPlan } from './bulk-body.js';
import { BulkFiles, type BulkParquet } from './bulk-files.js';
import { readLines } from './bulk-lines.js';
import type { BulkRequest } from './bulk-request.js';
import { fieldType, ndjson } from './ndjson-body.js';
import type { RefusalList } from './refusal-list.js';
import { takeLines } from './take-lines.js';

const LINES_IN_ONE_STEP = 2_000;
const EXACT_DOUBLE_MAX = 2 ** 53;

/** Columns of the table that are BIGINT and met a fraction. */
interface Fractions {
  /** Those that must become DOUBLE. */
  readonly wide: Set<string>;
  /** Those that the rule keeps as they are. */
  readonly narrow: Set<string>;
}

@Injectable()
export class EncodeBulk {
  constructor(
    private readonly limits: LimitsConfig,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly engine: Engine,
    private readonly scratch: ScratchFiles,
    private readonly rules: EncodeRulesOfTables,
    private readonly widening: Widening,
    private readonly files: BulkFiles,
  ) {}

  /**
   * @param refusals takes the rows that are left out
   * @param narrow columns that stay BIGINT though they met fractions; grows over the attempts of one body
   * @returns undefined when no row is left
   * @throws RowsOutdated when columns changed meanwhile: the body has to be encoded again
   */
  async encode(request: BulkRequest, body: BulkBody, refusals: RefusalList, narrow: Set<string>): Promise<BulkParquet | undefined> {
    return (await this.#atOnce(request, body)) ?? (await this.#byLine(request, body, refusals, narrow));
  }

  /** The quick way. @returns undefined when the rows have to be looked at one by one */
  async #atOnce({ table }: BulkRequest, body: BulkBody): Promise<BulkParquet | undefined> {
    if (!table.idRule.isDefault) return undefined;
    try {
      const plan = await traced('plan', {}, () => body.plan(table.schema));
      if (!plan) return undefined;
      const parquet = await traced(
        'encode',
        { 'miniodb.rows': plan.rows },
        async () => (await this.files.takeAsItIs(plan)) ?? (await this.files.write(table, plan.schema, plan.select, plan.lacksIds)),
      );
      if (parquet && (await traced('verify', {}, () => this.#isFaithful(parquet, plan)))) return parquet;
      if (parquet) await rm(parquet.file);
      return undefined;
    } catch (error) {
      // A line that is no JSON, a value that cannot be cast: which one it is, the other way says.
      this.logger.debug({ err: error }, `${table.logLabel} bulk body is read line by line`);
      return undefined;
    }
  }

  /** True when nothing was lost on the way: every value that was there is still there, every id is allowed, every number is exact. */
  async #isFaithful(parquet: BulkParquet, plan: BulkPlan): Promise<boolean> {
    const { nullCount, minValues, maxValues } = JSON.parse(parquet.statistics.text) as Record<string, Record<string, unknown>>;
    if (parquet.statistics.rows !== plan.rows) return false;
    const lostNothing = plan.payload.every(({ column, rows }) => nullCount?.[column.name] === plan.rows - rows);
    const isExact = plan.payload.every(
      ({ column, hasIntegers }) => column.type !== 'DOUBLE' || !hasIntegers || isWithin(minValues?.[column.name], maxValues?.[column.name]),
    );
    if (!lostNothing || !isExact || nullCount?.['id'] !== 0 || nullCount[TIMESTAMP_COLUMN] !== 0) return false;
    // A value that opens this many brackets may be nested too deeply in its row, which is a level, too; the other way counts exactly.
    const depthMax = this.limits.json_depth_max;
    const nested = plan.payload
      .filter(({ column }) => column.type === 'JSON')
      .map(({ column: { name } }) => `NOT json_valid(${quoteName(name)}) OR ${bracketsOf(quoteName(name))} >= ${depthMax}`);
    const suspicious = [isNoDefaultId('id'), ...nested].join(' OR ');
    const row = await this.engine.row(`SELECT count(*) FILTER (WHERE ${suspicious}) AS n FROM read_parquet(${quoteText(parquet.file)})`);
    return Number(row['n']) === 0;
  }

  /** The thorough way: checks and encodes each row in JavaScript, writes those that fit as clean NDJSON, and has the engine encode that. */
  async #byLine(request: BulkRequest, body: BulkBody, refusals: RefusalList, narrow: Set<string>): Promise<BulkParquet | undefined> {
    const clean = this.scratch.path('ndjson');
    try {
      const wide = new Set<string>();
      const { schema, lacksIds } = await this.#cleanLines(request, await body.lines(), clean, refusals, { wide, narrow });
      if (request.table instanceof Table && wide.size > 0) await this.#widen(request.table, { wide, narrow });
      const select = `SELECT ${schema.columnList} FROM ${ndjson(clean, schema.columns.map(fieldType))}`;
      return await this.files.write(request.table, schema, select, lacksIds);
    } finally {
      await this.scratch.remove(clean);
    }
  }

  /** Widens columns once every row was taken, so that a refused body changes none. @throws RowsOutdated always: the rows are encoded again */
  async #widen(table: Table, { wide, narrow }: Fractions): Promise<never> {
    for (const column of await this.widening.widen(table, [...wide])) narrow.add(column);
    throw new RowsOutdated();
  }

  /** @returns the table's schema with the columns that the rows add, and whether ids were made */
  async #cleanLines(
    request: BulkRequest,
    lines: BulkLines,
    clean: string,
    refusals: RefusalList,
    fractions: Fractions,
  ): Promise<{ schema: TableSchema; lacksIds: boolean }> {
    const { table, options } = request;
    const rules = this.rules.of(table, { ...options, newTypes: lines.newTypes, declared: lines.declared });
    let { schema } = table;
    let lacksIds = false;
    const encodeStep = (step: readonly RecordInput[], start: number): string => {
      const encoded = encodeStepOf(table, step, schema, rules, fractions);
      schema = encoded.schema;
      lacksIds ||= strategyFor(step) !== undefined;
      refusals.add(encoded.refusals.map((refusal) => ({ ...refusal, index: start + refusal.index })));
      return encoded.records.map((record) => `{${record.text}}\n`).join('');
    };
    async function* cleaned(): AsyncIterable<string> {
      let step: RecordInput[] = [];
      let start = 0;
      for await (const some of readLines(lines, request.fields, rules.depthMax)) {
        step.push(...takeLines(table, some, options.onError, refusals));
        if (step.length < LINES_IN_ONE_STEP) continue;
        yield encodeStep(step, start);
        start += step.length;
        step = [];
      }
      yield encodeStep(step, start);
    }
    await pipeline(cleaned, createWriteStream(clean));
    return { schema, lacksIds };
  }
}

function encodeStepOf(
  table: TableDraft,
  records: readonly RecordInput[],
  schema: TableSchema,
  rules: EncodeRules,
  { wide, narrow }: Fractions,
): EncodedRequest {
  let draft = schema;
  for (;;) {
    try {
      return encodeRecords(records, draft, rules, narrow);
    } catch (error) {
      if (!(error instanceof WideningNeeded)) throw error;
      for (const name of error.columns) {
        if (table.schema.column(name)) wide.add(name);
        draft = draft.retypedUnused(name, 'DOUBLE');
      }
    }
  }
}

/** SQL of how many brackets a JSON text opens. */
function bracketsOf(column: string): string {
  return `2 * length(${column}) - length(replace(${column}, '[', '')) - length(replace(${column}, '{', ''))`;
}

function isWithin(min: unknown, max: unknown): boolean {
  const isKnown = typeof min === 'number' && typeof max === 'number';
  return isKnown && min > -EXACT_DOUBLE_MAX && max < EXACT_DOUBLE_MAX;
}
