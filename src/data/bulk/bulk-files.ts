/** The Parquet files that bulk bodies become. They stand beside the log, as a part of it, until a flush moves them into their table. */
import { randomUUID } from 'node:crypto';
import { copyFile, link, mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import type { Clock } from '../../common/clock.js';
import { CLOCK, DATA_PATHS } from '../../common/tokens.js';
import type { DataPaths } from '../../config/data-paths.js';
import { type FileStatistics, fileStatistics } from '../../delta/file-statistics.js';
import { TableSchema } from '../../delta/table-schema.js';
import { Engine } from '../../engine/duckdb/engine.js';
import { writeFieldIds } from '../../engine/parquet/field-ids.js';
import { syncDirectory } from '../../storage/local-object-store.js';
import { parquetSelect } from '../../tables/view/row-sql.js';
import { copyToParquet, sortOrder } from '../flush/data-files.js';
import { WriteAheadLog } from '../wal/write-ahead-log.js';
import type { TableDraft } from '../write/target.js';
import type { BulkPlan } from './bulk-body.js';

/** A Parquet file that is written and checked, and the columns it brings. */
export interface BulkParquet {
  readonly file: string;
  readonly statistics: FileStatistics;
  readonly schema: TableSchema;
  /** True when ids were made for some of its rows. */
  readonly lacksIds: boolean;
}

@Injectable()
export class BulkFiles {
  readonly #directory: string;

  constructor(
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly engine: Engine,
    private readonly wal: WriteAheadLog,
    @Inject(DATA_PATHS) { bulk }: DataPaths,
  ) {
    this.#directory = bulk;
  }

  /** Makes the directory and removes files that no record of the log names. */
  async open(): Promise<void> {
    await mkdir(this.#directory, { recursive: true });
    for (const name of await readdir(this.#directory)) if (!this.wal.bulkFiles.has(name)) await rm(path.join(this.#directory, name));
  }

  /** Writes the rows of a SELECT, sorted as the table is. @returns undefined when there are none */
  async write(table: TableDraft, schema: TableSchema, select: string, lacksIds = false): Promise<BulkParquet | undefined> {
    const file = this.#newFile();
    const order = sortOrder(schema, table.config.sort_by).split(', ').slice(0, -1);
    const ordered = `SELECT ${parquetSelect(schema.columns)} FROM (${select})${order.length > 0 ? ` ORDER BY ${order.join(', ')}` : ''}`;
    try {
      const statistics = await copyToParquet(this.engine, file, ordered, schema, false, 'snappy');
      if (statistics) return { file, statistics, schema, lacksIds };
    } catch (error) {
      await rm(file, { force: true });
      throw error;
    }
    await rm(file, { force: true });
    return undefined;
  }

  /** A file that a client wrote just as we would becomes the data file, with field ids. */
  async takeAsItIs({ asItIs, schema }: BulkPlan): Promise<BulkParquet | undefined> {
    if (!asItIs) return undefined;
    const file = this.#newFile();
    try {
      // Not moved: another attempt may need the body once more. Where the two directories are of different disks there is no link.
      await link(asItIs.path, file).catch(() => copyFile(asItIs.path, file));
      if (await writeFieldIds(file, new Map(asItIs.columns.map(({ name, fieldId }) => [name, fieldId])))) {
        const { size: sizeBytes } = await stat(file);
        const { nextFieldId } = schema;
        return {
          file,
          statistics: fileStatistics({ ...asItIs.measure, sizeBytes }, TableSchema.of(asItIs.columns, nextFieldId)),
          schema,
          lacksIds: false,
        };
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
    return path.join(this.#directory, `${day}_${randomUUID()}.parquet`);
  }

  /** SYNC POINT: the file survives what leaves the disk alive, so that the log may name it. */
  async sync({ file }: BulkParquet): Promise<void> {
    const handle = await open(file, 'r');
    await handle.sync().finally(() => handle.close());
    await syncDirectory(this.#directory);
  }

  /** Removes a file that was not logged, also because the answer was one of an earlier request with the same key. */
  async removeUnlogged({ file }: BulkParquet): Promise<void> {
    if (!this.wal.bulkFiles.has(path.basename(file))) await rm(file, { force: true });
  }
}
