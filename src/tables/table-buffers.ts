/** What the engine holds of the buffers of all tables: their DuckDB tables, and the way of Arrow batches into these. */
import { Inject, Injectable } from '@nestjs/common';
import { AppError, messageOf } from '../common/app-error.js';
import type { Logger } from '../common/logger.js';
import { LOGGER } from '../common/tokens.js';
import { SerialQueue } from '../common/serial-queue.js';
import { LSN_COLUMN, type TableSchema } from '../delta/table-schema.js';
import { ArrowConverter } from '../engine/arrow/arrow-converter.js';
import { joinedStreams, plainFields, plainSchema } from '../engine/arrow/plain-stream.js';
import { Engine } from '../engine/duckdb/engine.js';
import { patiently } from '../engine/duckdb/patiently.js';
import { quoteName, quoteText } from '../engine/duckdb/sql-text.js';
import { ScratchFiles } from '../storage/scratch-files.js';
import type { Generation } from './generation.js';
import type { UnappliedBatches } from './unapplied-batches.js';

export const BUFFER_SCHEMA = 'buf';

/** Bytes of a buffer's batches that begin their way into the engine without a reader, and that writes wait for. */
const EAGER_BYTES = 4 * 1_024 * 1_024;
const WAITING_BYTES_MAX = 16 * 1_024 * 1_024;
/** Bytes that go at once, and pieces between which LSNs jump. */
const APPLIED_BYTES_MAX = 8 * 1_024 * 1_024;
const JUMPS_MAX = 64;
const CONVERSIONS_WAITING_MAX = 100_000;
/** As workers and the engine tell it. */
const DISK_IS_FULL = /ENOSPC|EDQUOT|no space left/i;

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
  async fit(generation: Generation, schema: TableSchema): Promise<void> {
    const before = generation.schema;
    if (before === schema) return;
    await generation.applying.catch(() => undefined);
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

  /** Everything that buffers have taken is in the engine afterwards. @throws AppError UNAVAILABLE when there is no room for that */
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
    let rest = generation.unapplied.length;
    while (rest > 0) {
      const group = groupOf(generation.unapplied.slice(0, rest));
      await this.#insert(generation, group);
      generation.unapplied.splice(0, group.length);
      rest -= group.length;
    }
  }

  async #insert(generation: Generation, group: readonly UnappliedBatches[]): Promise<void> {
    const [first] = group;
    const { schema } = generation;
    if (!first || !schema) return;
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
          `INSERT INTO ${generation.bufferTable} (${targets.join(', ')})
           SELECT ${values.join(', ')} FROM read_parquet(${quoteText(file)}, file_row_number = true, hive_partitioning = false)`,
        ),
      );
    } catch (error) {
      if (DISK_IS_FULL.test(messageOf(error)))
        throw new AppError('UNAVAILABLE', 'rows that are stored cannot be read now, because the disk is full; free some space', {
          cause: error,
        });
      throw error;
    } finally {
      await this.scratch.remove(file);
    }
  }

  /** Tells of what could not be removed; the next start removes it. */
  couldNotFree(table: string, error: unknown): void {
    this.logger.error({ err: error }, `table:${table} could not free unused resources`);
  }
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
