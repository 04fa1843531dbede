/** Stage 5 of a flush: from one tick of the writer loop to the next, readers get the files instead of the buffers. */
import { Injectable } from '@nestjs/common';
import type { Snapshot } from '../../delta/snapshot.js';
import { LSN_COLUMN } from '../../delta/table-schema.js';
import { readLsns } from '../../tables/view/row-sql.js';
import type { Table } from '../../tables/table.js';
import { type Fetched, FollowPath } from '../follow-path.js';
import { GroupCommit } from '../write/group-commit.js';
import { WriterFailure } from '../write/writer-failure.js';
import { bulkFilesOf, bulkPath, type EncodedFile, type Flush } from './flush.js';

@Injectable()
export class PublishFlush {
  constructor(
    private readonly followPath: FollowPath,
    private readonly groupCommit: GroupCommit,
    private readonly failure: WriterFailure,
  ) {}

  /** A commit that cannot be shown would be written again by the next flush: then only a restart, which reads the log, is safe. */
  async run(table: Table, flush: Flush, encoded: readonly EncodedFile[], snapshot: Snapshot): Promise<void> {
    const fetched = await this.followPath.fetch(table, snapshot, flush);
    try {
      await this.groupCommit.exclusive(() => this.#publish(table, flush, encoded, snapshot, fetched)).finally(fetched.release);
    } catch (error) {
      this.failure.fail(`table ${table.name}: a commit could not be shown to readers`, error);
      throw error;
    }
  }

  /** Alone in the writer loop: from one tick to the next, readers get the files instead of the buffers. */
  async #publish(table: Table, flush: Flush, encoded: readonly EncodedFile[], snapshot: Snapshot, fetched: Fetched): Promise<void> {
    const { generations, lsn } = flush;
    for (const file of encoded) await (file.isSoft ? this.#takeSoftMasks(table, file) : this.#moveMasks(table, file, lsn));
    for (const file of encoded) table.adoptSource(file.path, file.source);
    for (const file of bulkFilesOf(flush)) table.adoptSource(bulkPath(file), file.source);
    table.firstMaskLsn = await table.masks.firstChangeAfter(lsn);
    await this.followPath.show(table, snapshot, flush, fetched);
    table.generations = table.generations.filter((generation) => !generations.includes(generation));
    for (const generation of generations) table.retireGeneration(generation);
  }

  /** Deletes that hit the buffer while it was being flushed now hide rows of its file: the same rows, found by their LSN. */
  async #moveMasks(table: Table, file: EncodedFile, lsn: number): Promise<void> {
    const { source } = file.generation;
    if (!table.masks.isMasked(source)) return;
    await table.masks.add(
      `INSERT INTO ${table.masks.table} SELECT ${file.source}, r.file_row_number, m.since, m.soft, m.changed
       FROM ${readLsns([file.local])} r JOIN ${table.masks.table} m ON m.source = ${source} AND m.pos = r.${LSN_COLUMN} AND m.since > ${lsn}
       RETURNING source, soft, since`,
    );
  }

  /** Every row of a file of soft-deleted rows is hidden; those restored or deleted for good in the meantime are not soft any more. */
  async #takeSoftMasks(table: Table, file: EncodedFile): Promise<void> {
    await table.masks.add(
      `INSERT INTO ${table.masks.table} SELECT ${file.source}, r.file_row_number, 0, m.soft, CASE WHEN m.soft THEN 0 ELSE m.changed END
       FROM ${readLsns([file.local])} r JOIN ${table.masks.table} m ON m.source = ${file.generation.source} AND m.pos = r.${LSN_COLUMN}
       RETURNING source, soft, since`,
    );
  }
}
