/**
 * Compares what a restarted server shows with what was acknowledged before it was killed, id by id (invariant W3: an acknowledged batch is
 * neither lost nor doubled, whatever the instant of the crash).
 */
import { type CrashEntityClient, type CrashRun, type PendingOperation, canRestore } from './crash-entity-client.js';
import type { DataClient } from './data-client.js';
import {
  type EntityState,
  type MultisetDifference,
  type ReferenceTable,
  NO_ROWS,
  canonicalRow,
  isEmptyDifference,
  multisetDifference,
  restored,
} from './reference-table.js';
import { expectSuccess } from './requests.js';
import { streamTable } from './table-reader.js';

export interface Finding {
  readonly lost: number;
  readonly doubled: number;
  readonly report: string;
}

/** Reads each table once, checks every id, and settles the operations that were under way when the server died. */
export async function verifyEntities(
  client: DataClient,
  tables: readonly ReferenceTable[],
  entityClients: readonly CrashEntityClient[],
  run: CrashRun,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const table of tables) {
    const actual = rowsById(await streamTable(client.server, table.name, table.columns));
    const undecided = entityClients.filter((entityClient) => entityClient.pending?.table === table);
    const undecidedIds = new Set(undecided.flatMap((entityClient) => [...(entityClient.pending?.before.keys() ?? [])]));
    for (const id of new Set([...table.ids, ...actual.keys()])) {
      if (undecidedIds.has(id)) continue;
      findings.push(...findingOf(table, id, table.entity(id), actual, run));
    }
    for (const entityClient of undecided) {
      if (!entityClient.pending) continue;
      const finding = await settle(client, entityClient.pending, actual, run);
      if (finding) findings.push(finding);
      else entityClient.pending = undefined;
    }
  }
  return findings;
}

/** Decides from the rows found which way an unanswered operation went; all of it, or none of it. */
async function settle(
  client: DataClient,
  pending: PendingOperation,
  actual: ReadonlyMap<string, readonly string[]>,
  run: CrashRun,
): Promise<Finding | undefined> {
  const { table, before, after, description } = pending;
  const notBefore = findingsOf(table, before, actual, run);
  const notAfter = findingsOf(table, after, actual, run);
  if (notBefore.length > 0 && notAfter.length > 0) {
    const nearer = total(notBefore) <= total(notAfter) ? notBefore : notAfter;
    const report = nearer.map((finding) => finding.report).join('\n');
    return { lost: sum(nearer, 'lost'), doubled: sum(nearer, 'doubled'), report: `neither before nor after "${description}":\n${report}` };
  }
  if (notBefore.length === 0 && notAfter.length === 0 && hiddenRowsDiffer(before, after)) {
    // Only soft-deleted rows would tell, and a query does not show them: make the state certain again.
    const ids = [...before.keys()];
    expectSuccess(await client.delete(table.name, ids, false), `hard delete of ${ids.join(' ')}`);
    for (const id of ids) table.set(id, NO_ROWS);
    return undefined;
  }
  for (const [id, state] of notBefore.length === 0 ? before : after) table.set(id, state);
  return undefined;
}

/** Brings every soft-deleted row back, so that the last comparison sees those too. */
export async function restoreEverything(client: DataClient, tables: readonly ReferenceTable[], run: CrashRun): Promise<void> {
  for (const table of tables) {
    const ids = table.ids.filter((id) => canRestore(table, id));
    if (ids.length === 0) continue;
    expectSuccess(await client.restore(table.name, ids), `restore in ${table.name}`);
    for (const id of ids) table.set(id, restored(table.entity(id), table.mode, run.rowCounter));
  }
}

function findingsOf(
  table: ReferenceTable,
  states: ReadonlyMap<string, EntityState>,
  actual: ReadonlyMap<string, readonly string[]>,
  run: CrashRun,
): Finding[] {
  return [...states].flatMap(([id, state]) => findingOf(table, id, state, actual, run));
}

function findingOf(
  table: ReferenceTable,
  id: string,
  state: EntityState,
  actual: ReadonlyMap<string, readonly string[]>,
  run: CrashRun,
): Finding[] {
  const expected = state.live.map((row) => canonicalRow(row, table.columns));
  const difference = multisetDifference(expected, actual.get(id) ?? []);
  if (isEmptyDifference(difference)) return [];
  return [{ lost: difference.missing.length, doubled: difference.surplus.length, report: reportOf(table, id, difference, run) }];
}

function reportOf(table: ReferenceTable, id: string, difference: MultisetDifference, run: CrashRun): string {
  const steps = run.history.get(`${table.name} ${id}`) ?? [];
  return [
    `${table.name} ${id}:`,
    ...difference.missing.map((row) => `  lost    ${row}`),
    ...difference.surplus.map((row) => `  surplus ${row}`),
    ...steps.map((step) => `  did     ${step}`),
  ].join('\n');
}

function rowsById(rows: readonly string[]): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const row of rows) {
    const id = row.slice(0, row.indexOf(' '));
    const group = groups.get(id);
    if (group) group.push(row);
    else groups.set(id, [row]);
  }
  return groups;
}

function hiddenRowsDiffer(before: ReadonlyMap<string, EntityState>, after: ReadonlyMap<string, EntityState>): boolean {
  return [...before].some(([id, state]) => state.hidden.length !== (after.get(id) ?? NO_ROWS).hidden.length);
}

function sum(findings: readonly Finding[], field: 'lost' | 'doubled'): number {
  return findings.reduce((amount, finding) => amount + finding[field], 0);
}

function total(findings: readonly Finding[]): number {
  return sum(findings, 'lost') + sum(findings, 'doubled');
}
