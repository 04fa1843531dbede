/** Changes the configuration of tables. It is in their logs, so that every node and every version has it. */
import { Inject, Injectable } from '@nestjs/common';
import type { Logger } from '../common/logger.js';
import { LOGGER } from '../common/tokens.js';
import type { MetaDataAction } from '../delta/action.js';
import { readConfig, withConfig } from './stored-config.js';
import type { Table } from './table.js';
import { idRuleOf } from './id-rule.js';
import type { TableConfig } from './table-config.js';
import { TableDefaults } from './table-defaults.js';
import { TableEvents } from './table-events.js';

@Injectable()
export class TableConfiguration {
  constructor(
    private readonly defaults: TableDefaults,
    private readonly events: TableEvents,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /**
   * Commits another configuration to the table's log.
   * @param change gives it from the one that the commit stands on, which may be newer than what readers see: two changes at once both count
   * @returns what it is then
   * @throws AppError what `change` throws
   */
  async configure(table: Table, change: (current: TableConfig) => TableConfig): Promise<TableConfig> {
    await table.commits.run(async () => {
      let config = table.config;
      const snapshot = await table.log.commit(
        table.snapshot,
        () => ({ name: 'SET TBLPROPERTIES', parameters: { config: JSON.stringify(config) } }),
        ({ metaData }) => {
          config = change(readConfig(metaData, this.defaults.config));
          return [{ metaData: withConfig(metaData, config) }];
        },
      );
      await this.events.ask('versionCommitted', table, snapshot);
    });
    this.events.tell('committed', table);
    this.logger.info({ table_id: table.id }, `${table.logLabel} configured`);
    return table.config;
  }

  /** Takes the configuration that a version of the table has. */
  adopt(table: Table, metaData: MetaDataAction): void {
    table.config = readConfig(metaData, this.defaults.config);
    table.idRule = idRuleOf(table.config);
  }
}
