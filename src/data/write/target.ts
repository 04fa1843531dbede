/**
 * The table that a write goes to. One that does not exist is made by its first write, where the configuration allows it, and only once that write
 * is known to have something to store: a refused write leaves no empty table behind.
 */
import { Injectable } from '@nestjs/common';
import { assertMayWrite } from '../../common/access.js';
import { AppError } from '../../common/app-error.js';
import { TablesConfig } from '../../config/config.js';
import { TableSchema } from '../../delta/table-schema.js';
import { CatalogueSync } from '../../tables/catalogue-sync.js';
import { TableCreation } from '../../tables/create-table.js';
import type { Table } from '../../tables/table.js';
import { idRuleOf } from '../../tables/id-rule.js';
import type { IdStrategy, TableConfig } from '../../tables/table-config.js';
import { TableDefaults } from '../../tables/table-defaults.js';
import { TableRegistry } from '../../tables/table-registry.js';
import { encodeRecords } from './encode-records.js';
import { EncodeRulesOfTables } from './encode-rules.js';
import { GroupCommit } from './group-commit.js';
import type { RecordInput, RecordRefusal } from './record.js';
import type { RowOptions } from './write-command.js';

/** What a write needs to know of its table, which may not exist yet. */
export type TableDraft = Pick<Table, 'name' | 'config' | 'idRule' | 'schema' | 'logLabel'>;

/** How a table makes ids that is made by rows without any. */
const MAKES_IDS: IdStrategy = 'uuid';

/** How a new table makes ids: not at all, unless the rows that it is made for lack some. */
export function strategyFor(records: readonly RecordInput[]): IdStrategy | undefined {
  return records.some(({ id }) => id === undefined || id === null) ? MAKES_IDS : undefined;
}

@Injectable()
export class WriteTargets {
  constructor(
    private readonly config: TablesConfig,
    private readonly registry: TableRegistry,
    private readonly creation: TableCreation,
    private readonly sync: CatalogueSync,
    private readonly defaults: TableDefaults,
    private readonly rules: EncodeRulesOfTables,
    private readonly groupCommit: GroupCommit,
  ) {}

  find(name: string): Table | undefined {
    return this.registry.find(name);
  }

  /** @throws AppError NOT_FOUND; PERMISSION_DENIED when the caller may not write to it */
  existing(name: string): Table {
    assertMayWrite(name);
    return this.registry.get(name);
  }

  /** The table, or what it would be if a write made it, whose rows have no ids. @throws AppError as `existing` where writes make no tables */
  draft(name: string): TableDraft {
    assertMayWrite(name);
    const table = this.registry.find(name);
    if (table) return table;
    if (!this.config.auto_create) return this.registry.get(name);
    const config = this.#configOfNew(MAKES_IDS);
    return { name, config, idRule: idRuleOf(config), schema: TableSchema.initial(), logLabel: `table:${name}` };
  }

  /**
   * The table, made when there is none.
   * @param idStrategy of a new table; undefined: the server's default
   * @throws AppError what creating it throws
   */
  async ensure(name: string, idStrategy: IdStrategy | undefined): Promise<Table> {
    const table = this.registry.find(name);
    if (table) return table;
    try {
      return await this.creation.create(name, this.#configOfNew(idStrategy));
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'ALREADY_EXISTS') throw error;
      if (!this.registry.find(name)) await this.sync.refresh();
      return this.registry.get(name);
    }
  }

  #configOfNew(idStrategy: IdStrategy | undefined): TableConfig {
    const { config } = this.defaults;
    return idStrategy === undefined ? config : { ...config, id_strategy: idStrategy };
  }

  /** The table of some records, made when they would be taken. @throws AppError when they would not */
  ensureFor(name: string, records: readonly RecordInput[], options: RowOptions): Promise<Table> {
    this.refusedByNew(name, records, options);
    return this.ensure(name, strategyFor(records));
  }

  /** The table of a bulk body. @param lacksIds rows of it have no id */
  ensureForBulk(name: string, { idStrategy }: RowOptions, lacksIds: boolean): Promise<Table> {
    return this.ensure(name, idStrategy ?? (lacksIds ? MAKES_IDS : undefined));
  }

  /**
   * What a table that the records would create would refuse of them; nothing when it is there already.
   * @throws AppError when the caller may not write to it, it may not be created, or a record does not fit and `options` do not skip it
   */
  refusedByNew(name: string, records: readonly RecordInput[], options: RowOptions): readonly RecordRefusal[] {
    assertMayWrite(name);
    if (this.registry.find(name)) return [];
    const draft = this.draft(name);
    const encoded = encodeRecords(records, draft.schema, this.rules.of(draft, options));
    this.groupCommit.assertOpen(encoded.records.reduce((bytes, { text }) => bytes + text.length, 0));
    return encoded.refusals;
  }
}
