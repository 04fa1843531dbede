/** Functions that no statement of a caller may use, with the reason, and the only functions that may stand in FROM. */

/** Table functions that make rows out of their arguments and nothing else. */
export const TABLE_FUNCTIONS = new Set(['unnest', 'range', 'generate_series', 'json_each', 'json_tree', 'repeat', 'repeat_row']);

/** Names, or patterns of whole names, in lower case. */
const FORBIDDEN: Readonly<Record<string, readonly string[]>> = {
  'reads the environment of the server': ['getenv'],
  'reads or changes settings and variables': [
    'getvariable',
    'setvariable',
    'current_setting',
    'set_config',
    'enable_.*',
    'disable_.*',
    'pragma_.*',
  ],
  'runs or shows other statements': [
    'query',
    'query_table',
    'current_query',
    'current_query_id',
    'json_(de)?serialize_(sql|plan)',
    'json_execute_serialized_sql',
    'from_substrait.*',
    'get_substrait.*',
  ],
  'reads files': ['read_.*', '.*_scan', 'glob', 'sniff_csv', 'parquet_.*'],
  'tells of the engine, its catalogue and its session': [
    'duckdb_.*',
    'pg_.*',
    'show.*',
    'stats',
    'summary',
    'storage_info',
    'get_block_size',
    'txid_current',
    'in_search_path',
    'current_schemas?',
    'current_database',
    'current_catalog',
    'current_connection_id',
    'current_transaction_id',
    'has_.*_privilege',
    'obj_description',
    'col_description',
    'shobj_description',
    'icu_calendar_names',
    'which_secret',
  ],
  'writes to logs, or reads them': ['write_log', 'parse_duckdb_log_message'],
  waits: ['sleep_ms', 'pg_sleep', 'sleep'],
  'has a state that outlives the statement': ['setseed', 'nextval', 'currval', 'checkpoint', 'force_checkpoint'],
  'handles the inside of aggregates and types': ['export_state', 'finalize', 'combine', 'get_type', 'variant_bytes_to_variant'],
  'belongs to this server': ['miniodb_.*'],
  'is for tests of the engine': ['test_.*', 'seq_scan'],
};

const PATTERN = new RegExp(`^(${Object.values(FORBIDDEN).flat().join('|')})$`);

/** @param name in lower case */
export function isForbidden(name: string): boolean {
  return PATTERN.test(name);
}
