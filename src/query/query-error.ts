/** What the engine says of a caller's statement, as an error that a caller can act on. */
import { Inject, Injectable } from '@nestjs/common';
import { AppError, messageOf } from '../common/app-error.js';
import { DATA_PATHS } from '../common/tokens.js';
import { isInterrupt, isOutOfMemory } from '../engine/duckdb/engine.js';
import type { DataPaths } from '../config/data-paths.js';
import { DamagedFiles } from '../tables/damaged-files.js';
import type { RunningQuery } from './limits/running-queries.js';
import type { PinnedViews } from './pin-tables.js';

/** Kinds of engine errors that are the statement's fault. */
const CALLER_ERRORS =
  /^(Binder|Catalog|Parser|Syntax|Conversion|Invalid Input|Invalid|Out of Range|Mismatch Type|Invalid type|Expression|Not implemented|Constraint|Divide by Zero|Invalid Value|Parameter Not Resolved|Parameter Not Allowed|Sequence|Decimal|Cast|TransactionContext|Invalid Configuration|Dependency) Error:(?: |$)/;

/** Refuses a result that cannot be kept for a reader to page through. */
export class ResultTooLarge extends AppError {
  constructor(rowsMax: number) {
    super(
      'RESOURCE_EXHAUSTED',
      `the result has more than ${rowsMax} rows, too many to page through (query.kept_rows_max); add a LIMIT, or stream it with Accept: application/x-ndjson`,
    );
  }
}

@Injectable()
export class QueryErrors {
  constructor(
    private readonly damagedFiles: DamagedFiles,
    @Inject(DATA_PATHS) private readonly paths: DataPaths,
  ) {}

  /** A failure of a query as its caller is told; one of a file that cannot be read names the table. */
  async asTold(thrown: unknown, query: RunningQuery, views: PinnedViews): Promise<AppError> {
    const damage = query.stoppedWith ? undefined : await this.damagedFiles.explain(thrown, views.values());
    return damage ?? asQueryError(thrown, query, Object.values(this.paths) as string[]);
  }
}

/** @param directories of this server, which no caller is told of */
export function asQueryError(error: unknown, query: Pick<RunningQuery, 'stoppedWith'>, directories: readonly string[] = []): AppError {
  if (query.stoppedWith) return query.stoppedWith;
  if (error instanceof AppError) return error;
  // The engine adds the place in the text that it ran, which is not the text that the caller wrote.
  const message = withoutDirectories(messageOf(error).split('\n\nLINE ')[0]?.trim() ?? '', directories);
  if (isOutOfMemory(error))
    return new AppError(
      'RESOURCE_EXHAUSTED',
      'the query needs more memory and spill space than the engine may use (query.memory_bytes_max, query.spill_bytes_max); read or group less at once',
      { cause: error },
    );
  if (isInterrupt(error)) return new AppError('CANCELLED', 'the query was interrupted', { cause: error });
  if (message.startsWith('Permission Error'))
    return new AppError('PERMISSION_DENIED', 'the statement tries to reach something outside the tables', { cause: error });
  if (CALLER_ERRORS.test(message)) return new AppError('INVALID_ARGUMENT', message, { cause: error });
  return new AppError('INTERNAL', 'the engine failed on this query; the log has the details under the request id', { cause: error });
}

/** The longest first: one may stand in another. */
function withoutDirectories(message: string, directories: readonly string[]): string {
  return [...directories]
    .sort((left, right) => right.length - left.length)
    .reduce((text, directory) => text.replaceAll(`${directory}/`, ''), message);
}
