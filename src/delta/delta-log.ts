/**
 * The transaction log of one table: `DIRECTORY/_delta_log/N.json`, one object a version, made by put-if-absent. That put is THE commit point of
 * everything this server stores: before it nothing happened, after it all of it did.
 *
 * A put whose outcome is unknown (a lost answer) is resolved by reading the object: our own `txnId` in it means that we won. A gap in the log is
 * an error, never an older version served in silence.
 * Source: "Delta Log Entries" and "Checkpoints" of the Delta protocol.
 */
import { randomUUID } from 'node:crypto';
import { AppError } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import type { ObjectStore } from '../storage/object-store.js';
import { type Action, type CommitInfoAction, decodeActions, encodeActions } from './action.js';
import type { CheckpointFiles } from './checkpoint.js';
import { applyActions, type Snapshot } from './snapshot.js';

/** Other writers that may win before we give up. Each round is one read and one put. */
const COMMIT_ATTEMPTS_MAX = 50;
/** See `isCleanedUpUnder`; clean-up keeps versions for hours. */
const AWAKE_MS = 10_000;
const VERSION_DIGITS = 20;
const COMMIT_NAME = /\/(\d{20})\.json$/;
const CHECKPOINT_NAME = /\/(\d{20})\.checkpoint\.parquet$/;
const ENGINE_INFO = 'MinIODB';

/** What a commit does, for the table's history. */
export interface Operation {
  readonly name: string;
  readonly parameters: Readonly<Record<string, string>>;
}

export interface HistoryEntry {
  readonly version: number;
  readonly timestampMs: number;
  readonly operation: string;
  readonly parameters: Readonly<Record<string, string>>;
}

export class DeltaLog {
  constructor(
    private readonly store: ObjectStore,
    /** Key of the table's directory, without a slash at its end. */
    readonly directory: string,
    private readonly checkpoints: CheckpointFiles,
    private readonly clock: Clock,
    /** Other nodes may clean the log up. */
    private readonly isShared = false,
  ) {}

  /** Writes version 0. @throws AppError CONFLICT when the directory has a log already */
  async create(actions: readonly Action[]): Promise<Snapshot> {
    const commit = this.#compose(undefined, { name: 'CREATE TABLE', parameters: {} }, actions);
    if (!(await this.#put(0, commit))) throw new AppError('CONFLICT', `${this.directory} has a transaction log already`);
    return applyActions(undefined, 0, commit);
  }

  /**
   * The table at its newest version, or at an older one.
   * @throws AppError NOT_FOUND when there is no such version (any more), DATA_CORRUPTION when the log has a gap
   */
  async load(versionMax = Number.MAX_SAFE_INTEGER): Promise<Snapshot> {
    const wantsNewest = versionMax === Number.MAX_SAFE_INTEGER;
    const listed = await this.#list(versionMax, wantsNewest ? await this.#hintedCheckpoint() : undefined);
    const { start, commits } = await this.#beginning(listed, versionMax);
    let snapshot = start;
    for (const version of commits) {
      const expected = snapshot === undefined ? 0 : snapshot.version + 1;
      if (version !== expected) throw snapshot === undefined && !wantsNewest ? this.#gone(versionMax) : this.#missing(expected);
      snapshot = applyActions(snapshot, version, await this.#read(version));
    }
    if (snapshot === undefined)
      throw wantsNewest ? new AppError('NOT_FOUND', `${this.directory} has no transaction log`) : this.#gone(versionMax);
    if (!wantsNewest && snapshot.version !== versionMax) {
      throw new AppError('NOT_FOUND', `version ${versionMax} does not exist; the newest is ${snapshot.version}`);
    }
    return snapshot;
  }

  /**
   * What a load begins with, and the commits on top: the newest checkpoint of ours. One that another program wrote is passed over where the commits
   * before it are there to be replayed, because a mistake in it would cost rows, and after the next vacuum their files.
   */
  async #beginning(listed: Listing, versionMax: number): Promise<{ start: Snapshot | undefined; commits: number[] }> {
    const newest = listed.checkpoints.at(-1);
    if (newest === undefined) return { start: undefined, commits: listed.commits };
    const onTopOf = (start: Snapshot | undefined, commits: number[]): { start: Snapshot | undefined; commits: number[] } => ({
      start,
      commits: commits.filter((version) => version > (start?.version ?? -1)),
    });
    const { snapshot: asWritten, isOurs } = await this.checkpoints.read(this.#checkpointKey(newest), newest);
    if (isOurs) return onTopOf(asWritten, listed.commits);
    const { checkpoints, commits } = await this.#list(versionMax);
    for (const version of checkpoints.filter((older) => older < newest).reverse()) {
      if (!hasAll(commits, version + 1, newest)) break;
      const older = await this.checkpoints.read(this.#checkpointKey(version), version);
      if (older.isOurs) return onTopOf(older.snapshot, commits);
    }
    return onTopOf(hasAll(commits, 0, newest) ? undefined : asWritten, commits);
  }

  /** The table at its newest version; undefined when the directory has no log at all. */
  async loadIfAny(): Promise<Snapshot | undefined> {
    for await (const _object of this.store.list(`${this.directory}/_delta_log/`)) return this.load();
    return undefined;
  }

  #gone(version: number): AppError {
    return new AppError('NOT_FOUND', `version ${version} is no longer kept (maintenance.time_travel_hours)`);
  }

  /** The checkpoints and commits up to a version, in order; from a checkpoint on, if one is given. */
  async #list(versionMax: number, from?: number): Promise<Listing> {
    const checkpoints: number[] = from === undefined ? [] : [from];
    const commits: number[] = [];
    const startAfter = from === undefined ? undefined : `${this.#key(from)}.`;
    for await (const { key } of this.store.list(`${this.directory}/_delta_log/`, startAfter)) {
      const commit = COMMIT_NAME.exec(key)?.[1];
      if (commit !== undefined && Number(commit) <= versionMax) commits.push(Number(commit));
      const checkpoint = CHECKPOINT_NAME.exec(key)?.[1];
      if (checkpoint !== undefined && Number(checkpoint) <= versionMax && Number(checkpoint) !== from) checkpoints.push(Number(checkpoint));
    }
    return { checkpoints, commits };
  }

  /** The checkpoint that the hint names, if it is there: a hint is a hint. */
  async #hintedCheckpoint(): Promise<number | undefined> {
    const version = await this.checkpoints.hint(this.directory);
    if (version === undefined) return undefined;
    for await (const _object of this.store.list(this.#checkpointKey(version))) return version;
    return undefined;
  }

  /** When this log was last seen to have nothing newer, or was written to. */
  #lookedMs = 0;

  /** A node that slept longer than versions are kept finds no next one; it would take its own for the newest, and the next number for free. */
  async #isCleanedUpUnder({ version }: Snapshot): Promise<boolean> {
    // Not asked by those who look all the time: versions are kept much longer.
    if (!this.isShared || this.clock.nowMs() - this.#lookedMs < AWAKE_MS) return false;
    // Clean-up goes from the oldest version up: while ours is there, so are all after it.
    return (await this.store.get(`${this.#key(version)}.json`)) === undefined;
  }

  /** The table with every commit that came after `snapshot`. */
  async refresh(snapshot: Snapshot): Promise<Snapshot> {
    let newest = snapshot;
    for (;;) {
      const bytes = await this.store.get(`${this.#key(newest.version + 1)}.json`);
      if (bytes === undefined) {
        if (await this.#isCleanedUpUnder(newest)) newest = await this.load();
        this.#lookedMs = this.clock.nowMs();
        return newest;
      }
      newest = applyActions(newest, newest.version + 1, this.#decode(newest.version + 1, bytes));
    }
  }

  /**
   * Commits on top of `snapshot`. When another writer was first, `build` is asked again with the newer table; it throws when its plan no longer
   * fits (a file it replaces is gone), and gives no action when there is nothing left to do.
   * @param operation what the table's history says of it; asked for after `build`
   * @returns the table after the commit
   */
  async commit(
    snapshot: Snapshot,
    operation: Operation | (() => Operation),
    build: (current: Snapshot) => readonly Action[] | Promise<readonly Action[]>,
  ): Promise<Snapshot> {
    let current = (await this.#isCleanedUpUnder(snapshot)) ? await this.load() : snapshot;
    for (let attempt = 0; attempt < COMMIT_ATTEMPTS_MAX; attempt += 1) {
      const actions = await build(current);
      if (actions.length === 0) return current;
      const commit = this.#compose(current, typeof operation === 'function' ? operation() : operation, actions);
      if (await this.#put(current.version + 1, commit)) {
        this.#lookedMs = this.clock.nowMs();
        return applyActions(current, current.version + 1, commit);
      }
      current = await this.refresh(current);
    }
    throw new AppError('UNAVAILABLE', `${this.directory}: ${COMMIT_ATTEMPTS_MAX} commits in a row lost to other writers; try again`);
  }

  #compose(current: Snapshot | undefined, operation: Operation, actions: readonly Action[]): Action[] {
    const timestamp = Math.max(this.clock.nowMs(), (current?.timestampMs ?? 0) + 1);
    const commitInfo: CommitInfoAction = {
      inCommitTimestamp: timestamp,
      timestamp,
      operation: operation.name,
      operationParameters: operation.parameters,
      engineInfo: ENGINE_INFO,
      txnId: randomUUID(),
    };
    return [{ commitInfo }, ...actions];
  }

  /** COMMIT POINT. @returns false when the version exists already and is not ours */
  async #put(version: number, commit: readonly Action[]): Promise<boolean> {
    const key = `${this.#key(version)}.json`;
    try {
      return await this.store.putIfAbsent(key, encodeActions(commit));
    } catch (error) {
      if (await this.#isOurs(key, commit)) return true;
      throw error;
    }
  }

  async #isOurs(key: string, commit: readonly Action[]): Promise<boolean> {
    const bytes = await this.store.get(key);
    return bytes !== undefined && txnIdOf(decodeActions(bytes)) === txnIdOf(commit);
  }

  async #read(version: number): Promise<Action[]> {
    const bytes = await this.store.get(`${this.#key(version)}.json`);
    if (bytes === undefined) throw this.#missing(version);
    return this.#decode(version, bytes);
  }

  /** @throws AppError DATA_CORRUPTION for an object that is no commit */
  #decode(version: number, bytes: Buffer): Action[] {
    try {
      const actions = decodeActions(bytes);
      if (actions.length > 0) return actions;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
    throw new AppError(
      'DATA_CORRUPTION',
      `${this.directory}: version ${version} of the table's log is damaged; restore ${this.#key(version)}.json from a backup`,
    );
  }

  #missing(version: number): AppError {
    return new AppError(
      'DATA_CORRUPTION',
      `${this.directory}: version ${version} is missing from the table's log; restore ${this.#key(version)}.json from a backup`,
    );
  }

  /** The newest versions first, at most `limit`. Versions that clean-up removed are not there. */
  async history(newest: number, limit: number): Promise<HistoryEntry[]> {
    const entries: HistoryEntry[] = [];
    for (let version = newest; version >= 0 && entries.length < limit; version -= 1) {
      const bytes = await this.store.get(`${this.#key(version)}.json`);
      if (bytes === undefined) break;
      const info = commitInfoOf(decodeActions(bytes));
      if (info)
        entries.push({ version, timestampMs: info.inCommitTimestamp, operation: info.operation, parameters: info.operationParameters });
    }
    return entries;
  }

  /**
   * The newest version committed at or before an instant.
   * @throws AppError NOT_FOUND when the log does not reach back so far
   */
  async versionAt(newest: Snapshot, instantMs: number): Promise<number> {
    if (newest.timestampMs <= instantMs) return newest.version;
    for (let version = newest.version - 1; version >= 0; version -= 1) {
      const bytes = await this.store.get(`${this.#key(version)}.json`);
      if (bytes === undefined) break;
      const info = commitInfoOf(decodeActions(bytes));
      if (info && info.inCommitTimestamp <= instantMs) return version;
    }
    throw new AppError('NOT_FOUND', `the table has no version at or before ${new Date(instantMs).toISOString()}`);
  }

  #key(version: number): string {
    return `${this.directory}/_delta_log/${String(version).padStart(VERSION_DIGITS, '0')}`;
  }

  #checkpointKey(version: number): string {
    return `${this.#key(version)}.checkpoint.parquet`;
  }

  /** Writes a checkpoint of a snapshot, so that opening the table needs no older commit. */
  async checkpoint(snapshot: Snapshot, tombstonesFromMs: number): Promise<void> {
    await this.checkpoints.write(this.directory, this.#checkpointKey(snapshot.version), snapshot, tombstonesFromMs);
  }

  /**
   * Removes commits and checkpoints that no time travel needs: all before the newest checkpoint of ours that is older than the window.
   * @returns objects removed
   */
  async cleanUp(olderThanMs: number): Promise<number> {
    const log: { key: string; version: number }[] = [];
    const expired: number[] = [];
    for await (const { key, modifiedMs } of this.store.list(`${this.directory}/_delta_log/`)) {
      const checkpoint = CHECKPOINT_NAME.exec(key)?.[1];
      const version = checkpoint ?? COMMIT_NAME.exec(key)?.[1];
      if (version === undefined) continue;
      log.push({ key, version: Number(version) });
      if (checkpoint !== undefined && modifiedMs <= olderThanMs) expired.push(Number(checkpoint));
    }
    const keepFrom = await this.#newestOfOurs(expired);
    // Oldest first: a crash in between leaves a log that begins later, not one with a gap.
    const doomed = log.filter(({ version }) => version < keepFrom).sort((a, b) => a.version - b.version);
    for (const { key } of doomed) await this.store.delete(key);
    return doomed.length;
  }

  async #newestOfOurs(checkpoints: readonly number[]): Promise<number> {
    for (const version of checkpoints.toSorted((a, b) => b - a))
      if (await this.checkpoints.isOurs(this.#checkpointKey(version))) return version;
    return 0;
  }
}

/** Versions, in order. */
interface Listing {
  readonly checkpoints: number[];
  readonly commits: number[];
}

function hasAll(versions: readonly number[], first: number, last: number): boolean {
  const known = new Set(versions);
  for (let version = first; version <= last; version += 1) if (!known.has(version)) return false;
  return true;
}

function commitInfoOf(actions: readonly Action[]): CommitInfoAction | undefined {
  for (const action of actions) if ('commitInfo' in action) return action.commitInfo;
  return undefined;
}

function txnIdOf(actions: readonly Action[]): string | undefined {
  return commitInfoOf(actions)?.txnId;
}
