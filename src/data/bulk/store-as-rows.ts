/** Small bulk bodies, and those of upsert tables: their rows take the way of ordinary writes, so that they do not become small files. */
import { Injectable } from '@nestjs/common';
import { LimitsConfig } from '../../config/config.js';
import { Table } from '../../tables/table.js';
import { VisibleLsn } from '../../tables/view/visible-lsn.js';
import { encodeRecords } from '../write/encode-records.js';
import { EncodeRulesOfTables } from '../write/encode-rules.js';
import type { RecordInput } from '../write/record.js';
import { strategyFor } from '../write/target.js';
import { WritePath } from '../write-path.js';
import type { BulkLines } from './bulk-body.js';
import { readLines } from './bulk-lines.js';
import { assertThere, bulkAnswer, type BulkAnswer, type BulkRequest } from './bulk-request.js';
import type { RefusalList } from './refusal-list.js';
import { takeLines } from './take-lines.js';

@Injectable()
export class StoreAsRows {
  constructor(
    private readonly limits: LimitsConfig,
    private readonly writePath: WritePath,
    private readonly rules: EncodeRulesOfTables,
    private readonly visible: VisibleLsn,
  ) {}

  /** @returns undefined when there are more than `rowsMax` */
  async read(
    { table, fields, options }: BulkRequest,
    lines: BulkLines,
    rowsMax: number,
    refusals: RefusalList,
  ): Promise<RecordInput[] | undefined> {
    const records: RecordInput[] = [];
    for await (const some of readLines(lines, fields, this.limits.json_depth_max)) {
      records.push(...takeLines(table, some, options.onError, refusals));
      if (records.length > rowsMax) return undefined;
    }
    return records;
  }

  async store(
    { table, ensureTable, options: given, idempotency, isGone }: BulkRequest,
    records: readonly RecordInput[],
    lines: BulkLines,
    refusals: RefusalList,
  ): Promise<BulkAnswer> {
    assertThere(isGone);
    const options = { ...given, newTypes: lines.newTypes, declared: lines.declared };
    if (!(table instanceof Table)) {
      const encoded = encodeRecords(records, table.schema, this.rules.of(table, options));
      if (encoded.records.length === 0) {
        refusals.add(encoded.refusals);
        return this.nothingStored(refusals);
      }
    }
    const answer = await this.writePath.submit(async () => {
      const stored = await ensureTable(strategyFor(records) !== undefined);
      return { kind: 'rows', table: stored, records, replaces: false, ...options };
    }, idempotency);
    refusals.add(answer.refusals);
    return bulkAnswer(answer, refusals);
  }

  nothingStored(refusals: RefusalList): BulkAnswer {
    return { lsn: this.visible.value, count: 0, refusedCount: refusals.count, refusals: refusals.first };
  }
}
