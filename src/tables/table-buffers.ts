/** What the engine holds of the buffers of all tables: their DuckDB tables, and the way of Arrow batches into these. */
import { Inject, Injectable } from '@nestjs/common';
import { AppError } from '../common/app-error.js';
import type { Logger } from '../common/logger.js';
import { LOGGER } from '../common/tokens.js';
import { SerialQueue } from '../common/serial-queue.js';
import { ID_COLUMN, LSN_COLUMN, type TableSchema, TIMESTAMP_COLUMN } from '../delta/table-schema.js';
import { ArrowConverter } from '../engine/arrow/arrow-converter.js';
import { isValid, joinedStreams, plainFields, plainSchema, plainStream, plainType, textReader } from '../engine/arrow/plain-stream.js';
import { Engine } from '../engine/duckdb/engine.js';
import { patiently } from '../engine/duckdb/patiently.js';
import { quoteName, quoteText } from '../engine/duckdb/sql-text.js';
import { ScratchFiles } from '../storage/scratch-files.js';
import type { Generation } from './generation.js';
import type { KeyFields, UnappliedBatches } from './unapplied-batches.js';

export const BUFFER_SCHEMA = 'buf';

/** Bytes of a buffer's batches that begin their way into the engine without a reader, and that writes wait for. */
const EAGER_BYTES = 4 * 1_024 * 1_024;
const WAITING_BYTES_MAX = 16 * 1_024 * 1_024;
/** Bytes that go at once, and pieces between which LSNs jump. */
const APPLIED_BYTES_MAX = 8 * 1_024 * 1_024;
const JUMPS_MAX = 64;
const CONVERSIONS_WAITING_MAX = 100_000;

@Injectable()
export class TableBuffers {
  /** One conversion at a time: it has a core to itself, and memory for one. */
  readonly #conversions = new SerialQueue('Arrow batches on their way into buffers', CONVERSIONS_WAITING_MAX);

  constructor(
    private readonly engine: Engine,
    private readonly scratch: ScratchFiles,
    private readonly arrow: ArrowConverter,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Makes the place in the engine that buffers have. Before the first table. */
  async prepare(): Promise<void> {
    await this.engine.run(`CREATE SCHEMA ${BUFFER_SCHEMA}`);
  }

  /** Makes a buffer's table, or gives it the columns it lacks. */
  fit(generation: Generation, schema: TableSchema): Promise<void> {
    if (generation.schema === schema) return Promise.resolve();
    // Not while batches go in.
    generation.applying = generation.applying.catch(() => undefined).then(() => this.#widen(generation, schema));
    return generation.applying;
  }

  async #widen(generation: Generation, schema: TableSchema): Promise<void> {
    const before = generation.schema;
    if (before === undefined) {
      const columns = schema.columns.map((column) => `${quoteName(column.name)} ${column.type}`);
      await this.engine.run(`CREATE TABLE ${generation.bufferTable} (${LSN_COLUMN} BIGINT, ${columns.join(', ')})`);
    } else {
      const missing = schema.columns.filter((column) => !before.column(column.name));
      for (const column of missing)
        await this.engine.run(`ALTER TABLE ${generation.bufferTable} ADD COLUMN ${quoteName(column.name)} ${column.type}`);
    }
    generation.schema = schema;
  }

  /** Takes batches into a buffer. @param schema of the table, which has all of their columns */
  async take(generation: Generation, schema: TableSchema, batches: UnappliedBatches): Promise<void> {
    await this.fit(generation, schema);
    generation.unapplied.push(batches);
    const waiting = generation.unapplied.reduce((bytes, { stream }) => bytes + stream.length, 0);
    if (waiting < EAGER_BYTES) return;
    // Rows that cannot go on now stay where they are, durable and counted; the next who needs them tries again and is told.
    const applied = this.apply(generation).catch((error: unknown) =>
      this.logger.warn({ err: error }, `batches of ${generation.bufferTable} cannot go into the engine now; it will be tried again`),
    );
    if (waiting >= WAITING_BYTES_MAX) await applied;
  }

  /** Everything that buffers have taken is in the engine afterwards. */
  async applyAll(generations: readonly Generation[]): Promise<void> {
    for (const generation of generations) if (generation.unapplied.length > 0) await this.apply(generation);
  }

  apply(generation: Generation): Promise<void> {
    generation.applying = generation.applying.catch(() => undefined).then(() => this.#applyTaken(generation));
    return generation.applying;
  }

  /** Takes a buffer out of the engine. Nobody reads it, and it gets no more rows. */
  async drop(generation: Generation): Promise<void> {
    generation.unapplied.length = 0;
    await generation.applying.catch(() => undefined);
    await this.engine.run(`DROP TABLE IF EXISTS ${generation.bufferTable}`);
  }

  async #applyTaken(generation: Generation): Promise<void> {
    const { unapplied, schema, bufferTable } = generation;
    // Those that come meanwhile are for the next call; a buffer that is dropped has none any more.
    for (let rest = unapplied.length; rest > 0 && unapplied.length > 0 && schema;) {
      const group = groupOf(unapplied.slice(0, rest));
      rest -= group.length;
      try {
        await this.#insertByFile(bufferTable, schema, group);
        unapplied.splice(0, group.length);
      } catch (error) {
        // A full disk, most likely. Rows that are acknowledged must be seen all the same.
        this.logger.warn({ err: error }, `batches of ${bufferTable} go into the engine row by row`);
        for (const batches of group) {
          await this.#insertByLines(bufferTable, schema, batches);
          // One by one: what is in must not go in again when the next one fails.
          unapplied.shift();
        }
      }
    }
  }

  async #insertByFile(bufferTable: string, schema: TableSchema, group: readonly UnappliedBatches[]): Promise<void> {
    const [first] = group;
    if (!first) return;
    const file = this.scratch.path('parquet');
    try {
      await this.#conversions.run(() => this.arrow.streamToParquet(joinedStreams(group.map(({ stream }) => stream)), file));
      const names = new Set(plainFields(first.stream).map(({ name }) => name));
      const columns = schema.payloadColumns.filter(({ name }) => names.has(name));
      const values = [
        lsnSql(group),
        `${quoteName(first.fields.id)}::VARCHAR`,
        `${quoteName(first.fields.timestamp)}::TIMESTAMPTZ`,
        ...columns.map(({ name, type }) => `${quoteName(name)}::${type}`),
      ];
      const targets = [LSN_COLUMN, ...[...schema.columns.slice(0, 2), ...columns].map(({ name }) => quoteName(name))];
      await patiently(() =>
        this.engine.run(
          `INSERT INTO ${bufferTable} (${targets.join(', ')})
           SELECT ${values.join(', ')} FROM read_parquet(${quoteText(file)}, file_row_number = true, hive_partitioning = false)`,
        ),
      );
    } finally {
      await this.scratch.remove(file).catch(() => undefined);
    }
  }

  /** Slower, and needs no disk. */
  async #insertByLines(bufferTable: string, schema: TableSchema, { stream, fields, firstLsn, rows }: UnappliedBatches): Promise<void> {
    const lines = linesOf(stream, fields, schema);
    await this.engine.withConnection(async (connection) => {
      const statement = await connection.prepare(insertLinesSql(bufferTable, schema));
      try {
        statement.bindBlob(1, lines);
        statement.bindVarchar(2, JSON.stringify([[firstLsn, firstLsn + rows]]));
        await patiently(() => statement.run());
      } finally {
        statement.destroySync();
      }
    });
  }

  /** Tells of what could not be removed; the next start removes it. */
  couldNotFree(table: string, error: unknown): void {
    this.logger.error({ err: error }, `table:${table} could not free unused resources`);
  }
}

/**
 * SQL that puts rows into a buffer: $1 has them as lines, each a JSON object without its opening brace, $2 their LSNs as a JSON list of [first, end).
 */
export function insertLinesSql(bufferTable: string, schema: TableSchema): string {
  const fields = schema.columns.map((column) => `${JSON.stringify(column.name)}:${JSON.stringify(column.type)}`);
  const names = schema.columns.map((column) => quoteName(column.name));
  // Two lists of the same length, side by side: the lines and their LSNs.
  return `INSERT INTO ${bufferTable} (${[LSN_COLUMN, ...names].join(', ')})
     SELECT ${['lsn', ...names.map((name) => `j.${name}`)].join(', ')}
     FROM (SELECT lsn, from_json('{' || line, ${quoteText(`{${fields.join()}}`)}) AS j FROM (
       SELECT unnest(string_split(decode($1::BLOB), chr(10))) AS line,
         unnest(flatten(list_transform(from_json($2::VARCHAR, '[["BIGINT"]]'), lambda r: range(r[1], r[2])))) AS lsn))`;
}

/** The rows of a plain stream as lines of the log. */
function linesOf(stream: Buffer, { id, timestamp }: KeyFields, schema: TableSchema): Buffer {
  const plain = plainStream(stream);
  if (!plain) throw new AppError('INTERNAL', 'a stream that was taken for plain is not');
  const targets = plain.fields.map((field) => {
    if (field.name === id) return schema.column(ID_COLUMN);
    return field.name === timestamp ? schema.column(TIMESTAMP_COLUMN) : schema.column(field.name);
  });
  const lines = plain.batches.flatMap(({ rows, columns }) => {
    const members = columns.map((column, place) => {
      const type = plainType(plain.fields[place] ?? { type: '' });
      const textAt = textReader(type, column);
      const target = targets[place];
      const isQuoted = target?.type !== 'JSON' && (target?.name === ID_COLUMN || /^(Large)?Utf8$|^Date|^Timestamp/.test(type));
      const key = `${JSON.stringify(target?.name)}:`;
      return (row: number): string[] => {
        if (!target || !isValid(column.valid, row)) return [];
        return [key + (isQuoted ? JSON.stringify(textAt(row)) : textAt(row))];
      };
    });
    return Array.from({ length: rows }, (_, row) => `${members.flatMap((member) => member(row)).join()}}`);
  });
  return Buffer.from(lines.join('\n'));
}

/** The first of some batches that can go together: of the same columns, and not too much. */
function groupOf(batches: readonly UnappliedBatches[]): readonly UnappliedBatches[] {
  const [first] = batches;
  if (!first) return [];
  const schema = plainSchema(first.stream);
  let bytes = 0;
  let jumps = 0;
  let end = first.firstLsn;
  const last = batches.findIndex(({ stream, fields, firstLsn, rows }) => {
    bytes += stream.length;
    if (firstLsn !== end) jumps += 1;
    end = firstLsn + rows;
    const isAlike = fields.id === first.fields.id && fields.timestamp === first.fields.timestamp && plainSchema(stream).equals(schema);
    return !isAlike || jumps > JUMPS_MAX || (bytes > APPLIED_BYTES_MAX && stream !== first.stream);
  });
  return last === -1 ? batches : batches.slice(0, last);
}

/** SQL of a row's LSN by its number in the file: they go up by one, but for what came to other tables in between. */
function lsnSql(group: readonly UnappliedBatches[]): string {
  const pieces: { readonly start: number; readonly offset: number }[] = [];
  let start = 0;
  for (const { firstLsn, rows } of group) {
    const offset = firstLsn - start;
    if (pieces.at(-1)?.offset !== offset) pieces.push({ start, offset });
    start += rows;
  }
  const cases = pieces.slice(1).map(({ start: end }, index) => `WHEN file_row_number < ${end} THEN ${pieces[index]?.offset ?? 0}`);
  const last = String(pieces.at(-1)?.offset ?? 0);
  return `file_row_number + ${cases.length === 0 ? last : `CASE ${cases.join(' ')} ELSE ${last} END`}`;
}
