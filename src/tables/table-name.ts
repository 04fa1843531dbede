/** Names of tables. */
import { invalidArgument } from '../common/app-error.js';
import { globFilter } from '../common/glob.js';

/** Characters of a glob over names. */
export const PATTERN_LENGTH_MAX = 256;
const TABLE_NAME = /^[A-Za-z][A-Za-z0-9_]{0,63}$/;

/** @throws AppError INVALID_ARGUMENT when `name` cannot be a table's name */
export function assertTableName(name: unknown): asserts name is string {
  if (typeof name !== 'string' || !TABLE_NAME.test(name)) {
    const shown =
      typeof name === 'string' ? JSON.stringify(name.slice(0, 80)) : name === undefined ? 'nothing' : `a value of type ${typeof name}`;
    throw invalidArgument(`a table name must start with a letter and have 1 to 64 characters from A-Z, a-z, 0-9 and _; got ${shown}`, [
      { field: 'table' },
    ]);
  }
}

/** Turns a glob (`user*`, `log_?`, `[ab]*`, `{a,b}`) into a test. @throws AppError INVALID_ARGUMENT for a pattern that is too long */
export function tableNameFilter(pattern: string | undefined): (name: string) => boolean {
  if (pattern === undefined || pattern === '') return () => true;
  if (pattern.length > PATTERN_LENGTH_MAX) throw invalidArgument(`pattern must have at most ${PATTERN_LENGTH_MAX} characters`);
  return globFilter(pattern);
}
