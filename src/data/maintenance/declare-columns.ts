/**
 * Commits new columns before the first row that has them is acknowledged. Where several nodes write a table, a column must get its type and field id
 * from the log, or two nodes could give one name two types, and find out only when both had acknowledged rows. A node that is alone has its columns
 * committed by the flush that brings their first rows.
 */
import { Injectable } from '@nestjs/common';
import type { Column, TableSchema } from '../../delta/table-schema.js';
import type { Table } from '../../tables/table.js';
import { withSchema } from '../../tables/stored-config.js';
import { FlushPath } from '../flush-path.js';
import { FollowPath } from '../follow-path.js';

@Injectable()
export class DeclareColumns {
  constructor(
    private readonly followPath: FollowPath,
    private readonly flushPath: FlushPath,
  ) {}

  /** Adds those of the columns that the table lacks; one that another node added meanwhile stays as it is. */
  async run(table: Table, columns: readonly Column[]): Promise<void> {
    await table.commits.run(async () => {
      if (!(await this.followPath.catchUp(table))) await this.flushPath.flushWithin(table);
      const names = columns.map((column) => column.name).join();
      const snapshot = await table.log.commit(table.snapshot, { name: 'ADD COLUMNS', parameters: { columns: names } }, async (current) => {
        if (current.version !== table.snapshot.version) await this.followPath.follow(table, current);
        const schema = withMissing(current.schema, columns);
        return schema === current.schema ? [] : [{ metaData: withSchema(current.metaData, schema) }];
      });
      await this.followPath.follow(table, snapshot);
    });
  }
}

function withMissing(schema: TableSchema, columns: readonly Column[]): TableSchema {
  return columns.reduce((all, { name, type }) => (all.column(name) ? all : all.with(name, type)), schema);
}
