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
import { idRuleOf } from '../../tables/table-config.js';
import { TableDefaults } from '../../tables/table-defaults.js';
import { TableRegistry } from '../../tables/table-registry.js';
import { encodeRecords } from './encode-records.js';
import { EncodeRulesOfTables } from './encode-rules.js';
import { GroupCommit } from './group-commit.js';
import type { RecordInput, RecordRefusal } from './record.js';

/** What a write needs to know of its table, which may not exist yet. */
export type TableDraft = Pick<Table, 'name' | 'config' | 'idRule' | 'schema' | 'logLabel'>;

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

  /** @throws AppError NOT_FOUND; PERMISSION_DENIED when the caller may not write to it */
  existing(name: string): Table {
    assertMayWrite(name);
    return this.registry.get(name);
  }

  /** The table, or what it would be if a write made it. @throws AppError as `existing` where writes make no tables */
  draft(name: string): TableDraft {
    assertMayWrite(name);
    const table = this.registry.find(name);
    if (table) return table;
    if (!this.config.auto_create) return this.registry.get(name);
    const { config } = this.defaults;
    return { name, config, idRule: idRuleOf(config), schema: TableSchema.initial(), logLabel: `table:${name}` };
  }

  /** The table, made when there is none. @throws AppError what creating it throws */
  async ensure(name: string): Promise<Table> {
    const table = this.registry.find(name);
    if (table) return table;
    try {
      return await this.creation.create(name, this.defaults.config);
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'ALREADY_EXISTS') throw error;
      if (!this.registry.find(name)) await this.sync.refresh();
      return this.registry.get(name);
    }
  }

  /** The table of some records, made when they would be taken. @throws AppError when they would not */
  ensureFor(name: string, records: readonly RecordInput[]): Promise<Table> {
    this.refusedByNew(name, records, 'abort');
    return this.ensure(name);
  }

  /**
   * What a table that the records would create would refuse of them; nothing when it is there already.
   * @throws AppError when the caller may not write to it, it may not be created, or `abort` is asked for and a record does not fit
   */
  refusedByNew(name: string, records: readonly RecordInput[], onError: 'abort' | 'skip'): readonly RecordRefusal[] {
    assertMayWrite(name);
    if (this.registry.find(name)) return [];
    const draft = this.draft(name);
    const rules = { ...this.rules.of(draft, onError), acceptsNumericIds: false };
    const encoded = encodeRecords(records, draft.schema, rules);
    this.groupCommit.assertOpen(encoded.records.reduce((bytes, { text }) => bytes + text.length, 0));
    return encoded.refusals;
  }
}
