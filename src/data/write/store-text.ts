/** The quick way of rows that come as JSON text: nothing is made of them but the batch that the log takes. */
import { Injectable } from '@nestjs/common';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ID_COLUMN, TIMESTAMP_COLUMN } from '../../delta/table-schema.js';
import { Table } from '../../tables/table.js';
import type { KeyFields } from '../../tables/unapplied-batches.js';
import { WritePath } from '../write-path.js';
import { EncodeRulesOfTables } from './encode-rules.js';
import type { Idempotency } from './idempotency.js';
import type { TableDraft } from './target.js';
import { type RowForm, textRows } from './text-rows.js';
import { type RowOptions, RowsOutdated, type WriteAnswer } from './write-command.js';

/** Whatever the fields of a body were called. */
const OWN_NAMES: KeyFields = { id: ID_COLUMN, timestamp: TIMESTAMP_COLUMN };

export interface TextRequest {
  /** As it is, or as it would be made. */
  readonly table: TableDraft;
  readonly text: Buffer;
  readonly form: RowForm;
  readonly options: RowOptions;
  readonly rowsMax: number;
  /** The answer lists their ids. */
  readonly wantsIds: boolean;
  readonly idempotency?: Idempotency | undefined;
  /** Asked right before the rows are logged. @throws AppError when they must not be */
  readonly assertStill?: () => void;
}

@Injectable()
export class StoreText {
  constructor(
    private readonly writePath: WritePath,
    private readonly rules: EncodeRulesOfTables,
  ) {}

  /** @returns undefined, with nothing stored, when the rows have to be looked at one by one */
  async store({ table, text, form, options, rowsMax, wantsIds, idempotency, assertStill }: TextRequest): Promise<WriteAnswer | undefined> {
    if (!(table instanceof Table)) return undefined;
    const reading = textRows(text, form, table.schema, this.rules.of(table, options), rowsMax);
    let step = reading.next();
    for (; !step.done; step = reading.next()) await nextTurn();
    const rows = step.value;
    if (!rows) return undefined;
    try {
      return await this.writePath.submit(() => {
        assertStill?.();
        // Another of its name is not what the rows were read for.
        if (table.isDropped || table.isLeaving) throw new RowsOutdated();
        const { schema, stream, count, ids } = rows;
        return { kind: 'arrow', table, schema, stream, rows: count, fields: OWN_NAMES, ...(wantsIds ? { ids } : {}) };
      }, idempotency);
    } catch (error) {
      if (error instanceof RowsOutdated) return undefined;
      throw error;
    }
  }
}
