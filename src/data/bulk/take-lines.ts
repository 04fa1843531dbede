/** Lines of a body as records. */
import { type AppError, invalidArgument } from '../../common/app-error.js';
import type { RecordInput, RecordRefusal } from '../write/record.js';
import type { TableDraft } from '../write/target.js';
import type { Line } from './bulk-lines.js';
import type { RefusalList } from './refusal-list.js';

/** The records of some lines; those that are none are listed, or refuse the body. */
export function takeLines(table: TableDraft, lines: readonly Line[], onError: 'abort' | 'skip', refusals: RefusalList): RecordInput[] {
  const refused = lines.flatMap((line) => ('refusal' in line ? [line.refusal] : []));
  if (refused[0] && onError === 'abort') throw refusedBody(table, refused[0]);
  refusals.add(refused);
  return lines.flatMap((line) => ('record' in line ? [line.record] : []));
}

function refusedBody(table: TableDraft, refusal: RecordRefusal): AppError {
  return invalidArgument(`table ${table.name}: line ${refusal.line ?? '?'}: ${refusal.reason}`, [refusal]);
}
