/**
 * LSNs that no two logs share. A row is known by its LSN wherever its file goes, also when a compaction merges files of several nodes; so every log
 * on a shared store takes a range of its own, once, by making the next numbered object under `_wals/`. A later log gets a later range: rows of a
 * node that starts anew are younger than those of its lost log. A store that only this process uses needs no ranges: its log has the first.
 */
import { AppError } from '../../common/app-error.js';
import { LOGS_PREFIX } from '../../storage/keys.js';
import type { ObjectStore } from '../../storage/object-store.js';

/** LSNs of one log: 2^20 logs of 2^33 rows fit into the integers that `number` holds exactly. */
export const LSNS_PER_WAL = 2 ** 33;
const RANGES_MAX = 2 ** 20;
const DIGITS = 7;
const CLAIM_ATTEMPTS_MAX = 100;

/**
 * Claims the next free range.
 * @returns its number; LSNs go from this times LSNS_PER_WAL (exclusive) to the next
 */
export async function claimRange(store: ObjectStore, walId: string, nodeId: string, nowMs: number): Promise<number> {
  for (let attempt = 0; attempt < CLAIM_ATTEMPTS_MAX; attempt += 1) {
    let last = 0;
    for await (const { key } of store.list(LOGS_PREFIX))
      last = Math.max(last, Number(key.slice(LOGS_PREFIX.length, LOGS_PREFIX.length + DIGITS)) || 0);
    const range = last + 1;
    if (range >= RANGES_MAX)
      throw new AppError(
        'RESOURCE_EXHAUSTED',
        `${RANGES_MAX} write-ahead logs were started on this store, and no more are possible; use another bucket`,
      );
    const key = `${LOGS_PREFIX}${String(range).padStart(DIGITS, '0')}.json`;
    const claim = { wal_id: walId, node_id: nodeId, claimed_at: new Date(nowMs).toISOString() };
    if (await store.putIfAbsent(key, Buffer.from(JSON.stringify(claim)))) return range;
  }
  throw new AppError('UNAVAILABLE', `no range of LSNs could be claimed under ${LOGS_PREFIX}: ${CLAIM_ATTEMPTS_MAX} others were faster`);
}

/** Ids of all logs that were ever started on this store. */
export async function startedLogs(store: ObjectStore): Promise<Set<string>> {
  return new Set((await claimsOf(store)).map(({ walId }) => walId));
}

/** True while no other log was ever started on this store. One whose node is away may hold acknowledged rows that no file has yet. */
export async function isOnlyLog(store: ObjectStore, walId: string): Promise<boolean> {
  for await (const { key } of store.list(LOGS_PREFIX)) {
    if ((await claimOf(store, key))?.walId !== walId) return false;
  }
  return true;
}

/** Of every log that was started on this store, in the order of their ranges. */
export async function claimsOf(store: ObjectStore): Promise<Claim[]> {
  const claims: Claim[] = [];
  for await (const { key } of store.list(LOGS_PREFIX)) {
    const claim = await claimOf(store, key);
    if (claim) claims.push(claim);
  }
  return claims;
}

export interface Claim {
  readonly range: number;
  readonly walId: string;
  readonly nodeId: string;
}

/** @returns undefined for a claim that cannot be read */
async function claimOf(store: ObjectStore, key: string): Promise<Claim | undefined> {
  const bytes = await store.get(key);
  try {
    const { wal_id: walId, node_id: nodeId } = JSON.parse(bytes?.toString() ?? '') as { wal_id?: unknown; node_id?: unknown };
    if (typeof walId !== 'string' || typeof nodeId !== 'string') return undefined;
    return { range: Number(key.slice(LOGS_PREFIX.length, LOGS_PREFIX.length + DIGITS)), walId, nodeId };
  } catch {
    return undefined;
  }
}
