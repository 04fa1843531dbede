/** What a version of a table's log says of its configuration and schema. */
import { AppError } from '../common/app-error.js';
import { isJsonObject } from '../common/json.js';
import type { MetaDataAction } from '../delta/action.js';
import { NEXT_FIELD_ID } from '../delta/snapshot.js';
import { INITIAL_CONFIGURATION } from '../delta/table-protocol.js';
import { type TableSchema, toDeltaSchema } from '../delta/table-schema.js';
import { type TableConfig, withSettings } from './table-config.js';

const CONFIG_KEY = 'miniodb.config';

/** The metadata of a table's first version. */
export function firstMetaData(tableId: string, name: string, config: TableConfig, schema: TableSchema, nowMs: number): MetaDataAction {
  return {
    id: tableId,
    name,
    format: { provider: 'parquet', options: {} },
    schemaString: toDeltaSchema(schema),
    partitionColumns: [],
    configuration: { ...INITIAL_CONFIGURATION, [CONFIG_KEY]: JSON.stringify(config), [NEXT_FIELD_ID]: String(schema.nextFieldId) },
    createdTime: nowMs,
  };
}

/** The metadata of a table with another schema. */
export function withSchema(metaData: MetaDataAction, schema: TableSchema): MetaDataAction {
  return {
    ...metaData,
    schemaString: toDeltaSchema(schema),
    configuration: { ...metaData.configuration, [NEXT_FIELD_ID]: String(schema.nextFieldId) },
  };
}

/** The metadata of a table with another configuration. */
export function withConfig(metaData: MetaDataAction, config: TableConfig): MetaDataAction {
  return { ...metaData, configuration: { ...metaData.configuration, [CONFIG_KEY]: JSON.stringify(config) } };
}

/** The configuration that a version of a table has, with the server's defaults for what it leaves open. */
export function readConfig(metaData: MetaDataAction, defaults: TableConfig): TableConfig {
  const stored: unknown = JSON.parse(metaData.configuration[CONFIG_KEY] ?? '{}');
  if (!isJsonObject(stored)) throw new AppError('DATA_CORRUPTION', `table ${metaData.name}: its configuration in the log cannot be read`);
  return withSettings(defaults, stored);
}
