/** What the body of `POST /v1/recover` asks for. */
import { invalidArgument } from '../common/app-error.js';
import { MS_PER_DAY } from '../common/clock.js';
import type { RowRange } from '../data/write/row-range.js';
import { canonicalTimestamp } from '../data/write/timestamp.js';
import { parseAsOf } from '../query/paging/as-of.js';
import { assertTableName } from '../tables/table-name.js';
import type { RecoverDto } from './backup.dto.js';
import type { RecoverRequest } from './recovery.js';

const DAY = /^\d{4}-\d\d-\d\d$/;

/** @throws AppError INVALID_ARGUMENT for parts that contradict each other or cannot be read */
export function parseRecover(body: RecoverDto, idsMax: number): RecoverRequest {
  const asOf = parseAsOf(body.as_of);
  if (asOf && notEmpty(body.backup_id) !== undefined) throw invalidArgument('give backup_id or as_of, not both', [{ field: 'as_of' }]);
  if (asOf && notEmpty(body.table) === undefined) throw invalidArgument('as_of needs a table', [{ field: 'table' }]);
  if (notEmpty(body.target_table) !== undefined) assertTableName(body.target_table);
  return {
    backupId: notEmpty(body.backup_id),
    asOf,
    table: notEmpty(body.table),
    targetTable: notEmpty(body.target_table),
    nodeId: notEmpty(body.node_id),
    range: rangeOf(body, idsMax),
    overwrite: body.force_overwrite ?? false,
    dryRun: body.dry_run ?? false,
  };
}

function notEmpty(text: string | undefined): string | undefined {
  return text === '' ? undefined : text;
}

function rangeOf({ id_range: byId, time_range: byTime }: RecoverDto, idsMax: number): RowRange {
  const lists = [byId?.ids, byTime?.ids].filter((list) => list !== undefined);
  // Not "all of them": with force_overwrite that would replace the whole table.
  if (lists.some((list) => list.length === 0))
    throw invalidArgument('ids must contain at least one id, or be left out', [{ field: 'ids' }]);
  const ids = lists.length === 0 ? undefined : lists.reduce((both, list) => both?.filter((id) => list?.includes(id)));
  if (ids && ids.length > idsMax)
    throw invalidArgument(`ids has ${ids.length} entries; at most ${idsMax} per request (limits.ids_max)`, [{ field: 'id_range.ids' }]);
  if (ids?.length === 0) throw invalidArgument('id_range.ids and time_range.ids have no id in common', [{ field: 'time_range.ids' }]);
  const pattern = notEmpty(byId?.id_pattern);
  const from = instantOf(notEmpty(byTime?.start_date), 'start_date', 0);
  const to = instantOf(notEmpty(byTime?.end_date), 'end_date', MS_PER_DAY);
  if (from !== undefined && to !== undefined && BigInt(from) >= BigInt(to))
    throw invalidArgument('time_range.end_date must be after start_date', [{ field: 'time_range.end_date' }]);
  return {
    ...(ids ? { ids } : {}),
    ...(pattern === undefined ? {} : { idPattern: pattern }),
    ...(from === undefined ? {} : { fromMicros: from }),
    ...(to === undefined ? {} : { toMicros: to }),
  };
}

/** @param dayMs added to a day, which has no time of its own */
function instantOf(text: string | undefined, field: string, dayMs: number): string | undefined {
  if (text === undefined) return undefined;
  const isDay = DAY.test(text);
  const canonical = canonicalTimestamp(isDay ? `${text}T00:00:00Z` : text);
  if (canonical === undefined)
    throw invalidArgument(
      `time_range.${field} must be a day (2024-01-15) or an instant (2024-01-15T10:00:00Z), got ${JSON.stringify(text)}`,
      [{ field: `time_range.${field}` }],
    );
  const ms = BigInt(Date.parse(`${canonical.slice(0, 19)}Z`)) + BigInt(isDay ? dayMs : 0);
  return (ms * 1_000n + BigInt(canonical.slice(20, 26))).toString();
}
