/** Names of what requests ask for, the same for both doors: values of the label `method`. A route or a call that is not here is not counted. */
const ROUTES: Readonly<Record<string, string>> = {
  'POST /v1/data': 'write',
  'POST /v1/data/bulk': 'bulk_write',
  'PUT /v1/data': 'update',
  'DELETE /v1/data': 'delete',
  'POST /v1/data/restore': 'restore_rows',
  'POST /v1/query': 'query',
  'GET /v1/queries': 'list_queries',
  'DELETE /v1/queries/:id': 'stop_query',
  'POST /v1/tables': 'create_table',
  'GET /v1/tables': 'list_tables',
  'GET /v1/tables/:name': 'get_table',
  'PATCH /v1/tables/:name': 'configure_table',
  'DELETE /v1/tables/:name': 'delete_table',
  'POST /v1/tables/:name/flush': 'flush',
  'POST /v1/tables/:name/compact': 'compact',
  'POST /v1/tables/:name/vacuum': 'vacuum',
  'GET /v1/tables/:name/history': 'table_history',
  'POST /v1/backups': 'create_backup',
  'GET /v1/backups': 'list_backups',
  'DELETE /v1/backups/:id': 'delete_backup',
  'POST /v1/recover': 'recover',
  'POST /v1/metadata/backup': 'backup_metadata',
  'POST /v1/metadata/restore': 'restore_metadata',
  'GET /v1/metadata/backups': 'list_metadata_backups',
  'GET /v1/metadata/status': 'metadata_status',
  'POST /v1/auth/token': 'get_token',
  'POST /v1/auth/refresh': 'refresh_token',
  'DELETE /v1/auth/token': 'revoke_token',
  'POST /v1/auth/keys': 'create_api_key',
  'GET /v1/auth/keys': 'list_api_keys',
  'GET /v1/auth/keys/:api_key': 'get_api_key',
  'PATCH /v1/auth/keys/:api_key': 'change_api_key',
  'POST /v1/auth/keys/:api_key/rotate': 'rotate_api_key',
  'DELETE /v1/auth/keys/:api_key': 'remove_api_key',
};

const CALLS: Readonly<Record<string, string>> = {
  WriteData: 'write',
  BulkWrite: 'bulk_write',
  StreamWrite: 'stream_write',
  UpdateData: 'update',
  DeleteData: 'delete',
  QueryData: 'query',
  StreamQuery: 'stream_query',
  CreateTable: 'create_table',
  ListTables: 'list_tables',
  GetTable: 'get_table',
  DeleteTable: 'delete_table',
  BackupMetadata: 'backup_metadata',
  RestoreMetadata: 'restore_metadata',
  ListBackups: 'list_metadata_backups',
  GetMetadataStatus: 'metadata_status',
  GetToken: 'get_token',
  RefreshToken: 'refresh_token',
  RevokeToken: 'revoke_token',
};

/** @param route as it was declared, with names for its parts */
export function methodOfRoute(httpMethod: string, route: string | undefined): string | undefined {
  return ROUTES[`${httpMethod} ${route ?? ''}`];
}

/** @param parameters of a gRPC handler; one of them is the call */
export function methodOfCall(parameters: readonly unknown[]): string | undefined {
  const call = parameters.find(isCall);
  return call && CALLS[call.getPath().split('/').at(-1) ?? ''];
}

function isCall(value: unknown): value is { getPath(): string } {
  return typeof value === 'object' && value !== null && 'getPath' in value;
}
