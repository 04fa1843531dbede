/**
 * The path of a bulk body:
 *
 *   spool to disk → decide columns → Parquet beside the WAL → log its name → visible (and later moved into the table by the next flush)
 *
 * A large body is parsed and encoded by the engine in one go, on all cores, sorted, straight into a data file; its rows never pass through
 * JavaScript or the buffer. Only what does not fit at first sight is read line by line, to say which row and field it is. Small bodies take the
 * way of ordinary writes, so that they do not become small files.
 */
import { Inject, Injectable } from '@nestjs/common';
import { CLOCK, DATA_PATHS, LOGGER } from '../common/tokens.js';
import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { copyFile, link, mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { AppError, invalidArgument } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import { Config } from '../config/config.js';
import { faultPoint } from '../common/fault-points.js';
import type { Logger } from '../common/logger.js';
import { traced } from '../common/tracing.js';
import { Engine } from '../engine/duckdb/engine.js';
import { quoteName, quoteText } from '../engine/duckdb/sql-text.js';
import { syncDirectory } from '../storage/local-object-store.js';
import { writeFieldIds } from '../engine/parquet/field-ids.js';
import { ScratchFiles } from '../storage/scratch-files.js';
import { type FileStatistics, fileStatistics } from '../delta/file-statistics.js';
import { TableSchema, TIMESTAMP_COLUMN } from '../delta/table-schema.js';
import { parquetSelect } from '../tables/view/row-sql.js';
import { Table } from '../tables/table.js';
import { BulkBodies } from './bulk/bulk-bodies.js';
import type { BulkBody, BulkLines, BulkPlan } from './bulk/bulk-body.js';
import type { BulkFormat } from './bulk/bulk-format.js';
import { type BulkFields, type Line, readLines } from './bulk/bulk-lines.js';
import { fieldType, ndjson } from './bulk/ndjson-body.js';
import { RefusalList } from './bulk/refusal-list.js';
import { spool } from './bulk/spool.js';
import { copyToParquet, sortOrder } from './flush/data-files.js';
import { type EncodedRequest, encodeRecords, type EncodeRules, WideningNeeded } from './write/encode-records.js';
import type { Idempotency } from './write/idempotency.js';
import type { RecordInput, RecordRefusal } from './write/record.js';
import type { BulkCommand, WriteAnswer } from './write/write-command.js';
import { VisibleLsn } from '../tables/view/visible-lsn.js';
import { Widening } from './maintenance/widening.js';
import { WriteAheadLog } from './wal/write-ahead-log.js';
import { EncodeRulesOfTables } from './write/encode-rules.js';
import type { DataPaths } from '../config/data-paths.js';
import { BulkOutdated, WritePath } from './write-path.js';

/** Bodies up to this size go through the buffer. */
const SMALL_BYTES_MAX = 2 * 1_024 * 1_024;
/** Bodies for upsert tables, whose rows must meet the buffer one by one. */
const UPSERT_BYTES_MAX = 64 * 1_024 * 1_024;
/** Rows that go through the buffer at once: all of them are checked and encoded without a turn of the event loop between. */
const SMALL_ROWS_MAX = 20_000;
/** They are in memory together. */
const UPSERT_ROWS_MAX = 1_000_000;
const LINES_IN_ONE_STEP = 2_000;
const ATTEMPTS_MAX = 5;
const EXACT_DOUBLE_MAX = 2 ** 53;
const ID_PATTERN = quoteText('[A-Za-z0-9_-]{1,255}');

/** What a body needs to know of its table. */
export type BulkTable = Pick<Table, 'name' | 'config' | 'idRule' | 'schema' | 'logLabel'>;

export interface BulkRequest {
  /** As it is, or as it would be made. */
  readonly table: BulkTable;
  /** Makes the table when there is none. Asked once rows are known to be good, so that a refused body leaves no empty table behind. */
  readonly ensureTable: () => Promise<Table>;
  readonly body: Readable;
  readonly format: BulkFormat;
  readonly encoding: string | undefined;
  readonly fields: BulkFields;
  readonly onError: 'abort' | 'skip';
  readonly idempotency: Idempotency | undefined;
  /** True once the client has gone, which may come to be known after the end of its body: asked right before the rows are logged. */
  readonly isGone: () => boolean;
}

/** A SELECT with the columns of a schema; `release` lets go of what it reads. */
export interface RowSelect {
  readonly schema: TableSchema;
  readonly sql: string;
  readonly release: () => void;
}

/** Rows that a SELECT gives, for a table whose schema may change until they are in. */
export interface SelectedRows {
  readonly table: Table;
  /** The columns that the rows have in a table of this schema, and their SELECT. Asked again when the schema changed meanwhile. */
  readonly select: (schema: TableSchema) => Promise<RowSelect>;
  /** What they do to the rows that are there. */
  readonly existing: Pick<BulkCommand, 'replaces' | 'keepsExisting'>;
}

export interface BulkAnswer {
  readonly lsn: number;
  readonly count: number;
  readonly refusedCount: number;
  /** The first of them. */
  readonly refusals: readonly RecordRefusal[];
}

/** A Parquet file that is written and checked, and the columns it brings. */
interface BulkParquet {
  readonly file: string;
  readonly statistics: FileStatistics;
  readonly schema: TableSchema;
}

/** Columns of the table that are BIGINT and met a fraction. */
interface Fractions {
  /** Those that must become DOUBLE. */
  readonly wide: Set<string>;
  /** Those that the rule keeps as they are. */
  readonly narrow: Set<string>;
}

@Injectable()
export class BulkPath {
  constructor(
    private readonly config: Config,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LOGGER) private readonly logger: Logger,
    private readonly engine: Engine,
    private readonly scratch: ScratchFiles,
    private readonly bodies: BulkBodies,
    private readonly writePath: WritePath,
    private readonly widening: Widening,
    private readonly rules: EncodeRulesOfTables,
    private readonly visible: VisibleLsn,
    private readonly wal: WriteAheadLog,
    /** Bulk files live in `bulk` until a flush has them; part of the log. */
    @Inject(DATA_PATHS) private readonly paths: DataPaths,
  ) {}

  /** Makes the directory and removes files that no record of the log names. */
  async open(): Promise<void> {
    await mkdir(this.paths.bulk, { recursive: true });
    for (const name of await readdir(this.paths.bulk)) if (!this.wal.bulkFiles.has(name)) await rm(path.join(this.paths.bulk, name));
  }

  /** Stores a body. All or nothing under `abort`; under `skip` the rows that fit. */
  async store(given: BulkRequest): Promise<BulkAnswer> {
    const spooled = this.scratch.path(given.format);
    try {
      const bytesMax = this.config.limits.bulk_bytes_max;
      const { bytes, digest } = await traced('spool', {}, () =>
        spool(given.body, given.encoding, spooled, bytesMax, given.idempotency !== undefined),
      );
      const request = given.idempotency
        ? { ...given, idempotency: { ...given.idempotency, fingerprint: given.idempotency.fingerprint + digest } }
        : given;
      const { table, fields, onError } = request;
      const refusals = new RefusalList();
      const target = {
        config: table.config,
        schema: table.schema,
        fields,
        nowMs: this.clock.nowMs(),
        columnsMax: this.config.limits.columns_max,
      };
      return await this.bodies.use(spooled, bytes, request.format, target, onError === 'skip' ? refusals : undefined, (body) =>
        this.#storeBody(request, body, refusals),
      );
    } finally {
      await this.scratch.remove(spooled);
    }
  }

  /** @param refusals rows that were refused while the body was opened */
  async #storeBody(request: BulkRequest, body: BulkBody, refusals: RefusalList): Promise<BulkAnswer> {
    const isUpsert = request.table.config.write_mode === 'upsert';
    if (body.bytes > SMALL_BYTES_MAX && !isUpsert) return this.#storeAsFile(request, body, refusals);
    const lines = await body.lines();
    // Packed formats unpack to many times their size.
    if (lines.bytes > SMALL_BYTES_MAX && !isUpsert) return this.#storeAsFile(request, body, refusals);
    if (lines.bytes > UPSERT_BYTES_MAX)
      throw new AppError(
        'PAYLOAD_TOO_LARGE',
        `a bulk body for an upsert table may have at most ${UPSERT_BYTES_MAX} bytes as NDJSON; send it in parts`,
      );
    const listed = refusals.copy();
    const records = await this.#readRecords(request, lines, isUpsert ? UPSERT_ROWS_MAX : SMALL_ROWS_MAX, listed);
    if (records) return this.#storeAsRows(request, records, lines, listed);
    if (!isUpsert) return this.#storeAsFile(request, body, refusals);
    throw new AppError('PAYLOAD_TOO_LARGE', `a bulk body for an upsert table may have at most ${UPSERT_ROWS_MAX} rows; send it in parts`);
  }

  /** @returns undefined when there are more than `rowsMax` */
  async #readRecords(
    { table, fields, onError }: BulkRequest,
    lines: BulkLines,
    rowsMax: number,
    refusals: RefusalList,
  ): Promise<RecordInput[] | undefined> {
    const records: RecordInput[] = [];
    for await (const some of readLines(lines, fields, this.config.limits.json_depth_max)) {
      records.push(...takeLines(table, some, onError, refusals));
      if (records.length > rowsMax) return undefined;
    }
    return records;
  }

  async #storeAsRows(
    { table, ensureTable, onError, idempotency, isGone }: BulkRequest,
    records: readonly RecordInput[],
    lines: BulkLines,
    refusals: RefusalList,
  ): Promise<BulkAnswer> {
    assertThere(isGone);
    const { newTypes, declared } = lines;
    if (!(table instanceof Table)) {
      const encoded = encodeRecords(records, table.schema, { ...this.rules.of(table, onError), newTypes, declared });
      if (encoded.records.length === 0) {
        refusals.add(encoded.refusals);
        return this.#nothingStored(refusals);
      }
    }
    const answer = await this.writePath.submit(async () => {
      const stored = await ensureTable();
      return { kind: 'rows', table: stored, records, replaces: false, onError, acceptsNumericIds: true, newTypes, declared };
    }, idempotency);
    refusals.add(answer.refusals);
    return bulkAnswer(answer, refusals);
  }

  #nothingStored(refusals: RefusalList): BulkAnswer {
    return { lsn: this.visible.value, count: 0, refusedCount: refusals.count, refusals: refusals.first };
  }

  async #storeAsFile(given: BulkRequest, body: BulkBody, refusalsBefore: RefusalList): Promise<BulkAnswer> {
    let request = given;
    const narrow = new Set<string>();
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const { nextFieldId } = request.table.schema;
      const refusals = refusalsBefore.copy();
      let parquet: BulkParquet | undefined;
      try {
        parquet = (await this.#encodeAtOnce(request, body)) ?? (await this.#encodeByLine(request, body, refusals, narrow));
        if (!parquet) return this.#nothingStored(refusals);
        assertThere(request.isGone);
        const table = await request.ensureTable();
        request = { ...request, table };
        return bulkAnswer(await this.#log({ ...request, table }, parquet, nextFieldId), refusals);
      } catch (error) {
        // Other writes brought columns meanwhile: the field ids in the file may be theirs now.
        if (!(error instanceof BulkOutdated)) throw error;
      } finally {
        if (parquet) await this.#removeUnlogged(parquet);
      }
    }
    throw new AppError('UNAVAILABLE', `table ${request.table.name}: its columns keep changing while this body is stored; send it again`);
  }

  /** Stores rows that come out of the engine, all in one instant. @returns how many became visible */
  async storeSelected({ table, select, existing }: SelectedRows): Promise<number> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt += 1) {
      const { nextFieldId } = table.schema;
      const { schema, sql, release } = await select(table.schema);
      const parquet = await this.#copy(table, schema, sql).finally(release);
      if (!parquet) return 0;
      try {
        return (await this.#log({ table, idempotency: undefined, isGone: () => false }, parquet, nextFieldId, existing)).count;
      } catch (error) {
        if (!(error instanceof BulkOutdated)) throw error;
      } finally {
        await this.#removeUnlogged(parquet);
      }
    }
    throw new AppError('UNAVAILABLE', `table ${table.name}: its columns keep changing while these rows are stored; try again`);
  }

  /** Also when the answer is one of an earlier request with the same key. */
  async #removeUnlogged({ file }: BulkParquet): Promise<void> {
    if (!this.wal.bulkFiles.has(path.basename(file))) await rm(file, { force: true });
  }

  async #log(
    request: Pick<BulkRequest, 'idempotency' | 'isGone'> & { readonly table: Table },
    parquet: BulkParquet,
    nextFieldIdBefore: number,
    existing: SelectedRows['existing'] = {},
  ): Promise<WriteAnswer> {
    const { table, idempotency, isGone } = request;
    const handle = await open(parquet.file, 'r');
    await handle.sync().finally(() => handle.close());
    await syncDirectory(this.paths.bulk);
    faultPoint('bulk.after-file');
    assertThere(isGone);
    const columns = parquet.schema.columns.filter((column) => !table.schema.column(column.name));
    const file = { path: parquet.file, statistics: parquet.statistics };
    const answer = await this.writePath.submit(() => ({ kind: 'bulk', table, file, columns, nextFieldIdBefore, ...existing }), idempotency);
    faultPoint('bulk.after-log');
    return answer;
  }

  /** The quick way. @returns undefined when the rows have to be looked at one by one */
  async #encodeAtOnce({ table }: BulkRequest, body: BulkBody): Promise<BulkParquet | undefined> {
    if (!table.idRule.isDefault) return undefined;
    try {
      const plan = await traced('plan', {}, () => body.plan(table.schema));
      if (!plan) return undefined;
      const parquet = await traced(
        'encode',
        { 'miniodb.rows': plan.rows },
        async () => (await this.#takeAsItIs(plan)) ?? (await this.#copy(table, plan.schema, plan.select)),
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
    const depthMax = this.config.limits.json_depth_max;
    const nested = plan.payload
      .filter(({ column }) => column.type === 'JSON')
      .map(({ column: { name } }) => `NOT json_valid(${quoteName(name)}) OR ${bracketsOf(quoteName(name))} >= ${depthMax}`);
    const suspicious = [`NOT regexp_full_match(id, ${ID_PATTERN})`, ...nested].join(' OR ');
    const row = await this.engine.row(`SELECT count(*) FILTER (WHERE ${suspicious}) AS n FROM read_parquet(${quoteText(parquet.file)})`);
    return Number(row['n']) === 0;
  }

  /** The thorough way: checks and encodes each row in JavaScript, writes those that fit as clean NDJSON, and has the engine encode that. */
  async #encodeByLine(request: BulkRequest, body: BulkBody, refusals: RefusalList, narrow: Set<string>): Promise<BulkParquet | undefined> {
    const clean = this.scratch.path('ndjson');
    try {
      const wide = new Set<string>();
      const schema = await this.#cleanLines(request, await body.lines(), clean, refusals, { wide, narrow });
      if (request.table instanceof Table && wide.size > 0) await this.#widen(request.table, { wide, narrow });
      const select = `SELECT ${schema.columnList} FROM ${ndjson(clean, schema.columns.map(fieldType))}`;
      return await this.#copy(request.table, schema, select);
    } finally {
      await this.scratch.remove(clean);
    }
  }

  /** Widens columns once every row was taken, so that a refused body changes none. @throws BulkOutdated always: the rows are encoded again */
  async #widen(table: Table, { wide, narrow }: Fractions): Promise<never> {
    for (const column of await this.widening.widen(table, [...wide])) narrow.add(column);
    throw new BulkOutdated();
  }

  /** @returns the table's schema with the columns that the rows add */
  async #cleanLines(
    request: BulkRequest,
    lines: BulkLines,
    clean: string,
    refusals: RefusalList,
    fractions: Fractions,
  ): Promise<TableSchema> {
    const { table, onError } = request;
    const rules = { ...this.rules.of(table, onError), newTypes: lines.newTypes, declared: lines.declared };
    let { schema } = table;
    const encodeStep = (step: readonly RecordInput[], start: number): string => {
      const encoded = encodeStepOf(table, step, schema, rules, fractions);
      schema = encoded.schema;
      refusals.add(encoded.refusals.map((refusal) => ({ ...refusal, index: start + refusal.index })));
      return encoded.records.map((record) => `{${record.text}}\n`).join('');
    };
    async function* cleaned(): AsyncIterable<string> {
      let step: RecordInput[] = [];
      let start = 0;
      for await (const some of readLines(lines, request.fields, rules.depthMax)) {
        step.push(...takeLines(table, some, onError, refusals));
        if (step.length < LINES_IN_ONE_STEP) continue;
        yield encodeStep(step, start);
        start += step.length;
        step = [];
      }
      yield encodeStep(step, start);
    }
    await pipeline(cleaned, createWriteStream(clean));
    return schema;
  }

  /** A file that a client wrote just as we would becomes the data file, with field ids. */
  async #takeAsItIs({ asItIs, schema }: BulkPlan): Promise<BulkParquet | undefined> {
    if (!asItIs) return undefined;
    const file = this.#newFile();
    try {
      // Not moved: another attempt may need the body once more. Where the two directories are of different disks there is no link.
      await link(asItIs.path, file).catch(() => copyFile(asItIs.path, file));
      if (await writeFieldIds(file, new Map(asItIs.columns.map(({ name, fieldId }) => [name, fieldId])))) {
        const { size: sizeBytes } = await stat(file);
        const { nextFieldId } = schema;
        return { file, statistics: fileStatistics({ ...asItIs.measure, sizeBytes }, TableSchema.of(asItIs.columns, nextFieldId)), schema };
      }
    } catch (error) {
      await rm(file, { force: true });
      throw error;
    }
    await rm(file, { force: true });
    return undefined;
  }

  #newFile(): string {
    const day = new Date(this.clock.nowMs()).toISOString().slice(0, 10);
    return path.join(this.paths.bulk, `${day}_${randomUUID()}.parquet`);
  }

  async #copy(table: BulkTable, schema: TableSchema, select: string): Promise<BulkParquet | undefined> {
    const file = this.#newFile();
    const order = sortOrder(schema, table.config.sort_by).split(', ').slice(0, -1);
    const ordered = `SELECT ${parquetSelect(schema.columns)} FROM (${select})${order.length > 0 ? ` ORDER BY ${order.join(', ')}` : ''}`;
    try {
      const statistics = await copyToParquet(this.engine, file, ordered, schema, false, 'snappy');
      if (statistics) return { file, statistics, schema };
    } catch (error) {
      await rm(file, { force: true });
      throw error;
    }
    await rm(file, { force: true });
    return undefined;
  }
}

function encodeStepOf(
  table: BulkTable,
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

/** The records of some lines; those that are none are listed, or refuse the body. */
function takeLines(table: BulkTable, lines: readonly Line[], onError: 'abort' | 'skip', refusals: RefusalList): RecordInput[] {
  const refused = lines.flatMap((line) => ('refusal' in line ? [line.refusal] : []));
  if (refused[0] && onError === 'abort') throw refusedBody(table, refused[0]);
  refusals.add(refused);
  return lines.flatMap((line) => ('record' in line ? [line.record] : []));
}

function refusedBody(table: BulkTable, refusal: RecordRefusal): AppError {
  return invalidArgument(`table ${table.name}: line ${refusal.line ?? '?'}: ${refusal.reason}`, [refusal]);
}

/** @throws AppError CANCELLED */
function assertThere(isGone: () => boolean): void {
  if (isGone()) throw new AppError('CANCELLED', 'the client disconnected before its rows were stored; nothing was stored');
}

function bulkAnswer(answer: WriteAnswer, refusals: RefusalList): BulkAnswer {
  return { lsn: answer.lsn, count: answer.count, refusedCount: refusals.count, refusals: refusals.first };
}
