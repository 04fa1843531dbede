/**
 * The audit log: who asked for what, and what came of it, a JSON line for each request of REST and gRPC, refused ones too. It has names of tables, keys
 * and backups, and statements without the values in them; it never has a row's values or a secret.
 */
import { invalidArgument, messageOf } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import type { Config } from '../config/config.js';
import { redactSql } from '../common/redact-sql.js';
import { RotatingFile } from '../common/rotating-file.js';
import type { EndedRequest } from '../api/request-watch.js';
import { tableNameIn, textIn } from '../api/request-names.js';

/** Lines are written in blocks: one system call for some hundred of them. */
const BLOCK_BYTES = 64 * 1_024;
const SQL_LENGTH_MAX = 2_000;
const NAME_LENGTH_MAX = 255;
const QUERIES: ReadonlySet<string> = new Set(['query', 'stream_query']);
/** What requests are about that are not about a table, and the field that says so. */
const TARGETS: Readonly<Record<string, string>> = {
  stop_query: 'id',
  delete_backup: 'id',
  recover: 'backup_id',
  restore_metadata: 'backup_file',
  get_token: 'api_key',
  create_api_key: 'api_key',
  get_api_key: 'api_key',
  change_api_key: 'api_key',
  rotate_api_key: 'api_key',
  remove_api_key: 'api_key',
};

export class AuditLog {
  constructor(
    private readonly file: RotatingFile,
    private readonly clock: Clock,
  ) {}

  /**
   * @returns undefined where there is none
   * @throws AppError INVALID_ARGUMENT when its file cannot be written
   */
  static open({ audit, auth }: Config, clock: Clock): AuditLog | undefined {
    if (audit.mode === 'off' || (audit.mode === 'auto' && auth.mode === 'disabled')) return undefined;
    const { file, file_bytes_max: bytesMax, files_kept: filesKept } = audit;
    try {
      return new AuditLog(new RotatingFile({ file, bytesMax, filesKept, blockBytes: BLOCK_BYTES }), clock);
    } catch (error) {
      throw invalidArgument(`audit.file: ${file} cannot be written (${messageOf(error)}); set another path, or audit.mode: off`);
    }
  }

  note(request: EndedRequest): void {
    this.file.write(`${JSON.stringify(this.#line(request))}\n`);
  }

  #line({ door, method, context, places, result, durationMs }: EndedRequest): Record<string, unknown> {
    const named = tableNameIn(places);
    const field = TARGETS[method];
    const target = context?.target ?? (field === undefined ? undefined : textIn(places, field));
    const sql = QUERIES.has(method) ? textIn(places, 'sql') : undefined;
    return {
      time: new Date(this.clock.nowMs()).toISOString(),
      request_id: context?.requestId,
      address: context?.peer,
      ...(context?.principal ? { principal: context.principal.id } : { key_shown: context?.keyShown?.slice(0, NAME_LENGTH_MAX) }),
      door,
      method,
      result,
      tables: context?.tables ?? (named === undefined ? [] : [named.slice(0, NAME_LENGTH_MAX)]),
      ...(target === undefined ? {} : { target: target.slice(0, NAME_LENGTH_MAX) }),
      ...(sql === undefined ? {} : { sql: redactSql(sql, SQL_LENGTH_MAX) }),
      duration_ms: Math.round(durationMs * 10) / 10,
    };
  }

  /** Lines that the disk did not take. */
  get linesLost(): number {
    return this.file.linesLost;
  }

  close(): void {
    this.file.close();
  }
}
