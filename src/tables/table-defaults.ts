/** The configuration that a table gets unless it is told otherwise. */
import type { TableConfig } from './table-config.js';

export class TableDefaults {
  constructor(readonly config: TableConfig) {}
}
