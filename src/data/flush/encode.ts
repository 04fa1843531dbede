/** Stage 2 of a flush: the rows of its buffers as Parquet files on the local disk, those visible apart from those that can be restored. */
import { Inject, Injectable } from '@nestjs/common';
import type { Clock } from '../../common/clock.js';
import { CLOCK } from '../../common/tokens.js';
import { Engine } from '../../engine/duckdb/engine.js';
import { quoteText } from '../../engine/duckdb/sql-text.js';
import { ScratchFiles } from '../../storage/scratch-files.js';
import { ID_COLUMN, type TableSchema } from '../../delta/table-schema.js';
import type { Generation } from '../../tables/generation.js';
import { selectRows } from '../../tables/view/row-sql.js';
import type { Table } from '../../tables/table.js';
import { MIXED, newDataPath, SHARD, sortOrder, writeDataFile } from './data-files.js';
import { dayOf, type EncodedFile, type Flush } from './flush.js';

/** In a table with `layout: id`, a flush of more ids than this puts them into one file, which compaction sorts out. */
const ID_FILES_MAX = 16;

@Injectable()
export class EncodeRows {
  constructor(
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly engine: Engine,
    private readonly scratch: ScratchFiles,
  ) {}

  async run(table: Table, { generations, schema, lsn }: Flush): Promise<EncodedFile[]> {
    const encoded: EncodedFile[] = [];
    try {
      for (const generation of generations) await this.#encode(table, schema, generation, lsn, encoded);
      return encoded;
    } catch (error) {
      await this.scratch.remove(...encoded.map((file) => file.local));
      throw error;
    }
  }

  async #encode(table: Table, schema: TableSchema, generation: Generation, lsn: number, files: EncodedFile[]): Promise<void> {
    if (generation.rows === 0) return;
    const { config } = table;
    await table.buffers.applyAll([generation]);
    const sources = { schema, masks: table.masks, files: [], generations: [generation], lsn: String(lsn) };
    for (const rows of ['visible', 'soft'] as const) {
      const sql = selectRows(sources, { columns: schema.columns, withPlace: true, rows });
      for (const { middle, where } of await this.#parts(table, sql)) {
        const local = this.scratch.path('parquet');
        const statistics = await writeDataFile(
          this.engine,
          local,
          where === '' ? sql : `SELECT * FROM (${sql}) WHERE ${where}`,
          schema,
          sortOrder(schema, config.sort_by),
          'snappy',
        );
        if (!statistics) continue;
        const path = newDataPath(middle, dayOf(statistics, this.clock.nowMs()));
        files.push({ local, path, statistics, isSoft: rows === 'soft', source: table.newSource(), generation });
      }
    }
  }

  /** How a flush is cut into files: not at all, or by id where the table's layout asks for it and the ids are few. */
  async #parts(table: Table, rowsSql: string): Promise<{ middle: string; where: string }[]> {
    if (table.config.layout === 'shard') return [{ middle: SHARD, where: '' }];
    const ids = (await this.engine.rows(`SELECT DISTINCT ${ID_COLUMN} FROM (${rowsSql}) LIMIT ${ID_FILES_MAX + 1}`)).map((row) =>
      String(row[ID_COLUMN]),
    );
    const canBePaths = ids.every((id) => /^[A-Za-z0-9_-]+$/.test(id));
    if (ids.length > ID_FILES_MAX || !canBePaths) return [{ middle: MIXED, where: '' }];
    return ids.map((id) => ({ middle: id, where: `${ID_COLUMN} = ${quoteText(id)}` }));
  }

  /** Removes the local files of a flush that has ended. */
  async discard(flush: Flush): Promise<void> {
    await this.scratch.remove(...(flush.encoded ?? []).map((file) => file.local));
  }
}
