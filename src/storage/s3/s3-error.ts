/** What the failures of an S3-compatible store mean: which are worth another try, and what a person is told. */
import { AppError, messageOf } from '../../common/app-error.js';

/** Answers that another try does not change, and what to do about them. */
const FINAL: Readonly<Record<string, string>> = {
  AccessDenied: 'the access key lacks permission; give it read, write, list and delete on the bucket',
  InvalidAccessKeyId: 'the access key is unknown; check MINIO_ACCESS_KEY',
  SignatureDoesNotMatch: 'the secret key is wrong; check MINIO_SECRET_KEY',
  NoSuchBucket: 'the bucket does not exist; create it, or check MINIO_BUCKET',
  RequestTimeTooSkewed: 'the clocks of this machine and the store differ; correct them',
  AuthorizationHeaderMalformed: 'the region is wrong; check MINIO_REGION',
  InvalidBucketName: 'the name of the bucket is not a valid one; check MINIO_BUCKET',
  EntityTooLarge: 'the object is larger than the store allows',
  QuotaExceeded: 'the quota of the bucket is used up; raise it, and the server resumes by itself',
  NotImplemented: 'the store lacks this function; run "npm run check-storage" to see what it can do',
};
const NOT_THERE = new Set(['NoSuchKey', 'NotFound']);

export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

/** True when the store said that there is no such object. */
export function isNotThere(error: unknown): boolean {
  return NOT_THERE.has(codeOf(error));
}

/** True when a conditional put lost: the key exists. */
export function isPreconditionFailed(error: unknown): boolean {
  return codeOf(error) === 'PreconditionFailed';
}

/** False for answers that stay the same however often one asks. */
export function isWorthRetrying(error: unknown): boolean {
  return !(codeOf(error) in FINAL) && !isNotThere(error) && !isPreconditionFailed(error) && !(error instanceof AppError);
}

/** @param section of the configuration, whose variables the message names */
export function asUnavailable(error: unknown, what: string, section: 'minio' | 'minio_backup'): AppError {
  if (error instanceof AppError) return error;
  const remedy = FINAL[codeOf(error)]?.replaceAll('MINIO_', `${section.toUpperCase()}_`);
  const reason = remedy === undefined ? `${messageOf(error)} (${codeOf(error) || 'no answer'})` : `${remedy} (${codeOf(error)})`;
  return new AppError('UNAVAILABLE', `${what}: ${reason}`, { cause: error, retryAfterSeconds: 5 });
}
