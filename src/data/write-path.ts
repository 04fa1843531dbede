/**
 * The path of a write, stage by stage:
 *
 *   admit → check and encode → log (WAL, one fsync for many) → apply to buffer and masks → acknowledge
 *
 * One loop does it for the whole server. It takes what waits as a group, gives it LSNs, logs it with one fsync, and applies it while the next group
 * is already being logged. Whatever must see or change buffers undisturbed (a freeze, the publishing of a commit) runs as an exclusive task in the
 * same loop, so no row can slip in between. A write is acknowledged once it is synced and applied: durable, and visible to the next query.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { AppError } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import type { Config } from '../common/config/config.js';
import { faultPoint } from '../common/fault-points.js';
import { type MakeId, makeUuid } from '../common/ids.js';
import type { Logger } from '../common/logger.js';
import { traced } from '../common/tracing.js';
import type { Engine } from '../infra/duckdb/engine.js';
import type { DataFile } from '../metadata/delta/snapshot.js';
import { type Column, TableSchema } from '../metadata/table-schema.js';
import type { Table } from '../tables/table.js';
import { idRuleOf, type TableConfig } from '../tables/table-config.js';
import type { TableRegistry } from '../tables/table-registry.js';
import type { VisibleLsn } from '../tables/visible-lsn.js';
import type { Freshness } from './freshness.js';
import { type Applicable, fromWalRecord, idsOf, lastLsn, toWalRecord } from './write/applicable.js';
import type { Addressed, Applier } from './write/apply.js';
import { roughBytes } from './write/command-size.js';
import { filesSought } from './write/files-sought.js';
import { seenLogs } from './write/seen-logs.js';
import { type EncodedRequest, encodeRecords, type EncodeRules, WideningNeeded } from './write/encode-records.js';
import type { Idempotency, IdempotencyKeys } from './write/idempotency.js';
import { newestRows } from './write/newest-rows.js';
import type { RecordInput } from './write/record.js';
import type { MergeCommand, RowsCommand, WriteAnswer, WriteCommand } from './write/write-command.js';
import type { WriteAheadLog } from './wal/write-ahead-log.js';

/** Attempts of a write whose column is widened under it; each attempt settles one column. */
const WIDENING_ATTEMPTS_MAX = 100;
/** How often and how long a write waits for the end of its table's drop. */
const LEAVING_ATTEMPTS_MAX = 20;
const LEAVING_PAUSE_MS = 100;
/** Tables that a message about missing records names. */
const COMMITTED_TOLD_MAX = 10;
const REPLAY_GROUP_RECORDS_MAX = 1_000;
const REPLAY_GROUP_BYTES_MAX = 16 * 1_024 * 1_024;

/** Files on the local disk, kept there for a command. */
interface HeldFiles {
  readonly paths: ReadonlySet<string>;
  readonly mayHold: (file: DataFile) => boolean;
  readonly release: () => void;
}

interface Waiting {
  readonly command: WriteCommand;
  readonly bytes: number;
  readonly idempotency: Idempotency | undefined;
  /** Columns that were found to stay as they are. */
  readonly fixed: ReadonlySet<string>;
  readonly held: HeldFiles | undefined;
  /** By the clock that only goes forward. */
  readonly arrivedMs: number;
  readonly resolve: (answer: WriteAnswer) => void;
  readonly reject: (error: unknown) => void;
}

interface Exclusive {
  readonly task: () => Promise<void>;
}

/** A command that is encoded and has its LSNs. */
interface Prepared extends Addressed {
  readonly waiting: Waiting;
  readonly answer: WriteAnswer;
}

export interface WritePathParts {
  readonly config: Config;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly engine: Engine;
  readonly registry: TableRegistry;
  readonly wal: WriteAheadLog;
  readonly applier: Applier;
  readonly idempotencyKeys: IdempotencyKeys;
  readonly makeSnowflake: MakeId;
  readonly visible: VisibleLsn;
  readonly freshness: Freshness;
  /** Data files have to be fetched before the engine can read them. */
  readonly fetchesFiles: boolean;
}

export class WritePath {
  /** Widens columns (`maintenance/widening.ts`); set when the module is wired. @returns those that forbid it; none was changed then */
  widen: (table: Table, columns: readonly string[]) => Promise<readonly string[]> = (_table, columns) => Promise.resolve(columns);
  /** Commits new columns before their first row is logged (`maintenance/declare-columns.ts`); set where several nodes write the same tables. */
  declareColumns: ((table: Table, columns: readonly Column[]) => Promise<void>) | undefined;
  /** Told of every table that got rows or masks. */
  onApplied: (table: Table) => void = () => undefined;

  /** Bulk files that records of the log name. */
  readonly bulkFilesInLog = new Set<string>();

  readonly #queue: (Waiting | Exclusive)[] = [];
  #queuedBytes = 0;
  #isRunning = false;
  #applying: Promise<void> = Promise.resolve();
  #lastLsn = 0;
  #isStopped = false;
  #failure: AppError | undefined;
  /** Tables that the log has writes of and that cannot take them: unknown to the catalogue, or out of service. With the first LSN of each. */
  readonly #homeless = new Map<string, number>();

  constructor(private readonly parts: WritePathParts) {}

  /** Everything up to here is durable and visible; what a query pins. */
  get appliedLsn(): number {
    return this.parts.visible.value;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Bytes of rows in buffers, all tables together. */
  get bufferedBytes(): number {
    return this.parts.registry
      .all()
      .reduce((sum, table) => sum + table.generations.reduce((bytes, generation) => bytes + generation.bytes, 0), 0);
  }

  /** Ends writing until a restart, because what is in memory can no longer be trusted. What is acknowledged is safe in the log. */
  fail(what: string, cause: unknown): AppError {
    this.#failure ??= new AppError('UNAVAILABLE', `${what}, so this server takes no more writes; restart it to replay the log`, {
      cause,
      retryAfterSeconds: 30,
    });
    this.parts.logger.fatal({ err: cause }, this.#failure.message);
    return this.#failure;
  }

  /** Why writes are refused, if they are. */
  get failure(): AppError | undefined {
    return this.#failure;
  }

  /**
   * Stores a write. @returns once it is durable and visible
   * @param make gives the command, and may create its table; not asked when the request was answered before
   * @throws AppError INVALID_ARGUMENT for rows that do not fit, RESOURCE_EXHAUSTED when too much waits, UNAVAILABLE when it could not be stored
   */
  submit(make: () => WriteCommand | Promise<WriteCommand>, idempotency?: Idempotency): Promise<WriteAnswer> {
    return this.parts.idempotencyKeys.once(idempotency, () => this.#submitPatiently(make, idempotency));
  }

  /** A table that is being dropped is waited for: the command is made anew then, which may find another table of the name, or make one. */
  async #submitPatiently(make: () => WriteCommand | Promise<WriteCommand>, idempotency: Idempotency | undefined): Promise<WriteAnswer> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#submitWidening(await make(), idempotency);
      } catch (error) {
        if (!(error instanceof TableLeaving)) throw error;
        if (attempt === LEAVING_ATTEMPTS_MAX) throw error;
        await pause(LEAVING_PAUSE_MS);
        if (this.parts.registry.isShared) await this.parts.registry.refresh();
      }
    }
  }

  async #submitWidening(command: WriteCommand, idempotency: Idempotency | undefined): Promise<WriteAnswer> {
    const fixed = new Set<string>();
    for (let attempt = 0; attempt < WIDENING_ATTEMPTS_MAX; attempt += 1) {
      const held = await this.#hold(command);
      try {
        return await traced('log and apply', { 'miniodb.table': command.table.name, 'miniodb.command': command.kind }, () =>
          this.#enqueue(command, idempotency, fixed, held),
        );
      } catch (error) {
        if (error instanceof FilesMissing) continue;
        if (error instanceof ColumnsUndeclared) {
          await this.declareColumns?.(command.table, error.columns);
          continue;
        }
        if (!(error instanceof WideningNeeded)) throw error;
        for (const column of await this.widen(command.table, error.columns)) fixed.add(column);
      } finally {
        held?.release();
      }
    }
    throw new AppError('UNAVAILABLE', `table ${command.table.name}: its columns keep changing under this write; try again`);
  }

  /**
   * Brings the files that a command looks for rows in to the local disk and keeps them there. Before the command is logged: once it is, it must be
   * applied, also when the object store has gone meanwhile.
   */
  async #hold(command: WriteCommand): Promise<HeldFiles | undefined> {
    const mayHold = this.parts.fetchesFiles ? filesSought(command) : undefined;
    if (!mayHold) return undefined;
    const view = command.table.pin(this.appliedLsn);
    try {
      await view.open(mayHold);
    } catch (error) {
      view.release();
      throw error;
    }
    const paths = new Set(view.files.filter(({ file }) => mayHold(file)).map(({ file }) => file.path));
    return { mayHold, paths, release: () => view.release() };
  }

  /** @throws FilesMissing when a commit brought files since the command's own were fetched */
  #assertHeld({ command, held }: Waiting): void {
    if (!held) return;
    for (const file of command.table.snapshot.files.values())
      if (!held.paths.has(file.path) && held.mayHold(file)) throw new FilesMissing();
  }

  #enqueue(
    command: WriteCommand,
    idempotency: Idempotency | undefined,
    fixed: ReadonlySet<string>,
    held: HeldFiles | undefined,
  ): Promise<WriteAnswer> {
    const bytes = roughBytes(command);
    this.#admit(bytes);
    return new Promise((resolve, reject) => {
      this.#queuedBytes += bytes;
      this.#queue.push({ command, bytes, idempotency, fixed, held, arrivedMs: performance.now(), resolve, reject });
      this.#kick();
    });
  }

  /** Every bound that a write can meet. A refusal here leaves nothing behind. */
  #admit(bytes: number): void {
    const { wal, buffer } = this.parts.config;
    if (this.#failure) throw this.#failure;
    if (this.#isStopped) throw new AppError('UNAVAILABLE', 'the server is stopping', { retryAfterSeconds: 5 });
    const refuse = (what: string, used: number, limit: number): never => {
      throw new AppError('RESOURCE_EXHAUSTED', `${what}: ${used} of ${limit} bytes are in use; try again when the flush has caught up`, {
        retryAfterSeconds: 2,
      });
    };
    if (this.#queuedBytes + bytes > wal.queue_bytes_max && this.#queuedBytes > 0)
      refuse('writes waiting for the log (wal.queue_bytes_max)', this.#queuedBytes, wal.queue_bytes_max);
    if (this.parts.wal.bytes + bytes > wal.bytes_max)
      refuse('acknowledged writes that are not in data files yet (wal.bytes_max)', this.parts.wal.bytes, wal.bytes_max);
    const buffered = this.bufferedBytes;
    if (buffered + bytes > buffer.bytes_max) refuse('buffered rows (buffer.bytes_max)', buffered, buffer.bytes_max);
  }

  /** Makes later writes younger than rows that came with their numbers from elsewhere (a table taken back from a backup). */
  raiseLsn(table: Table): Promise<void> {
    return this.exclusive(() => Promise.resolve(this.#raiseLsn(table)));
  }

  #raiseLsn(table: Table): void {
    const { wal } = this.parts;
    const known = [...table.snapshot.transactions.values()].filter((lsn) => lsn >= wal.lsnStart && lsn < wal.lsnEnd);
    this.#lastLsn = Math.max(this.#lastLsn, ...known);
  }

  /** Runs a task while nothing is being logged or applied. Short: all writes wait for it. */
  exclusive<T>(task: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ task: () => task().then(resolve, reject) });
      this.#kick();
    });
  }

  #kick(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    // One turn of the event loop first: requests of the same moment share a group.
    setImmediate(() => void this.#loop());
  }

  async #loop(): Promise<void> {
    while (this.#queue.length > 0) {
      const next = this.#queue[0];
      if (next && 'task' in next) {
        this.#queue.shift();
        await this.#applying;
        await next.task();
      } else {
        await this.#writeGroup(this.#takeGroup());
      }
    }
    // In the tick of the last look at the queue, so that whoever queues next starts the loop again.
    this.#isRunning = false;
  }

  /** Waiting commands up to the size of a group. A command that must read first is a group of its own. */
  #takeGroup(): Waiting[] {
    const group: Waiting[] = [];
    let bytes = 0;
    while (this.#queue.length > 0) {
      const next = this.#queue[0];
      if (!next || 'task' in next) break;
      if (group.length > 0 && (readsFirst(next) || bytes + next.bytes > this.parts.config.wal.group_bytes_max)) break;
      this.#queue.shift();
      this.#queuedBytes -= next.bytes;
      bytes += next.bytes;
      group.push(next);
      if (readsFirst(next)) break;
    }
    return group;
  }

  /** The commands of a group but those for tables that other nodes drop. */
  async #withoutLeaving(group: readonly Waiting[]): Promise<readonly Waiting[]> {
    const { registry } = this.parts;
    if (!registry.isShared) return group;
    try {
      const leaving = await registry.leavingElsewhere([...new Set(group.map(({ command }) => command.table))]);
      if (leaving.size === 0) return group;
      for (const { command, reject } of group) if (leaving.has(command.table)) reject(new TableLeaving(command.table));
      return group.filter(({ command }) => !leaving.has(command.table));
    } catch (error) {
      for (const { reject } of group) reject(error);
      return [];
    }
  }

  async #writeGroup(taken: readonly Waiting[]): Promise<void> {
    const group = await this.#withoutLeaving(taken);
    const schemasBefore = new Map(group.map(({ command }) => [command.table, command.table.schema]));
    const lsnBefore = this.#lastLsn;
    const prepared: Prepared[] = [];
    for (const waiting of group) {
      try {
        const one = await this.#prepare(waiting);
        if (one) prepared.push(one);
      } catch (error) {
        waiting.reject(error);
      }
    }
    if (prepared.length === 0) return;
    if (this.#failure) {
      for (const { waiting } of prepared) waiting.reject(this.#failure);
      return;
    }
    try {
      await this.parts.wal.append(prepared.map(({ write }) => toWalRecord(write)));
    } catch (error) {
      for (const [table, schema] of schemasBefore) table.schema = schema;
      this.#lastLsn = lsnBefore;
      for (const { waiting } of prepared) waiting.reject(error);
      return;
    }
    for (const { write } of prepared) if (write.kind === 'bulk') this.bulkFilesInLog.add(write.fileName);
    await this.#applying;
    if (this.#failure) {
      for (const { waiting } of prepared) waiting.reject(this.#failure);
      return;
    }
    this.#applying = this.#applyGroup(prepared);
  }

  async #applyGroup(prepared: readonly Prepared[]): Promise<void> {
    let affected: Map<number, number>;
    try {
      affected = await this.parts.applier.apply(prepared, (table, error) => this.#giveUpTable(table, error));
    } catch (error) {
      // The log has these writes and the buffer does not: only a replay can put that right.
      const failure = this.fail('a logged write could not be applied to the buffer', error);
      for (const { waiting } of prepared) waiting.reject(failure);
      return;
    }
    faultPoint('apply.after');
    this.parts.visible.value = Math.max(...prepared.map(({ write }) => lastLsn(write)));
    for (const { table } of prepared) table.visibleChanges += 1;
    const nowMs = performance.now();
    for (const { waiting, answer, write, table } of prepared) {
      if (table.outOfService) {
        waiting.reject(table.outOfService);
        continue;
      }
      this.parts.freshness.note('visible', nowMs - waiting.arrivedMs);
      waiting.resolve(write.kind === 'rows' ? answer : { ...answer, count: affected.get(write.firstLsn) ?? 0 });
    }
    for (const table of new Set(prepared.map(({ table }) => table))) this.onApplied(table);
  }

  /** Checks and encodes a command and gives it its LSNs. Columns it adds are the table's from here on, unless logging fails. */
  async #prepare(waiting: Waiting): Promise<Prepared | undefined> {
    const { command } = waiting;
    const { table } = command;
    if (table.outOfService) throw table.outOfService;
    if (table.isDropped || table.isLeaving) throw new TableLeaving(table);
    this.#assertHeld(waiting);
    switch (command.kind) {
      case 'rows':
        return this.#prepareRows(waiting, command);
      case 'merge': {
        await this.#applying;
        return this.#prepareRows(waiting, await this.#asRows(command));
      }
      case 'delete': {
        const write = {
          kind: 'delete' as const,
          tableId: table.id,
          ids: command.ids,
          soft: command.soft,
          ...this.#seenBy(table),
          ...this.#lsns(1),
          ...keyOf(waiting),
        };
        return { waiting, table, schema: table.schema, write, answer: { lsn: write.firstLsn, ids: command.ids, count: 0, refusals: [] } };
      }
      case 'restore':
        return this.#prepareRestore(waiting, table, command.ids);
      case 'bulk':
        return this.#prepareBulk(waiting);
    }
  }

  #prepareRows(waiting: Waiting, command: RowsCommand): Prepared | undefined {
    const { table } = command;
    const encoded = encodeRecords(command.records, table.schema, this.#rules(command), waiting.fixed);
    if (encoded.records.length === 0) {
      waiting.resolve({ lsn: this.appliedLsn, ids: [], count: 0, refusals: encoded.refusals });
      return undefined;
    }
    const columns = addedColumns(table.schema, encoded.schema);
    if (this.declareColumns && columns.length > 0) throw new ColumnsUndeclared(columns);
    table.schema = encoded.schema;
    const write: Applicable = {
      kind: 'rows',
      tableId: table.id,
      lines: Buffer.from(encoded.records.map((record) => `${record.text}}`).join('\n')),
      replaces: command.replaces,
      columns,
      ...(command.replaces || table.config.write_mode === 'upsert' ? this.#seenBy(table) : {}),
      ...this.#lsns(encoded.records.length),
      ...keyOf(waiting),
    };
    return { waiting, table, schema: encoded.schema, write, answer: rowsAnswer(lastLsn(write), encoded) };
  }

  #rules(command: RowsCommand): EncodeRules {
    const rules = this.rulesOf(command.table, command.onError);
    return { ...rules, acceptsNumericIds: command.acceptsNumericIds ?? false, newTypes: command.newTypes, declared: command.declared };
  }

  /** What records of a table are checked against. */
  rulesOf(table: Pick<Table, 'name' | 'config' | 'idRule'>, onError: 'abort' | 'skip'): EncodeRules {
    const { limits } = this.parts.config;
    return {
      tableName: table.name,
      idRule: table.idRule,
      makeId: this.#idMaker(table.config),
      nowMs: this.parts.clock.nowMs(),
      columnsMax: limits.columns_max,
      depthMax: limits.json_depth_max,
      onError,
      acceptsNumericIds: true,
    };
  }

  /**
   * Checks the first records of a table that does not exist yet, so that a refused write does not leave an empty table behind.
   * @returns what of them would be stored
   * @throws AppError as `submit`
   */
  checkForNewTable(name: string, config: TableConfig, records: readonly RecordInput[], onError: 'abort' | 'skip'): EncodedRequest {
    const rules = { ...this.rulesOf({ name, config, idRule: idRuleOf(config) }, onError), acceptsNumericIds: false };
    const encoded = encodeRecords(records, TableSchema.initial(), rules);
    this.#admit(encoded.records.reduce((bytes, { text }) => bytes + text.length, 0));
    return encoded;
  }

  /** What makes ids for records without one; undefined when the table wants them from the client. */
  #idMaker(config: TableConfig): MakeId | undefined {
    switch (config.id_strategy) {
      case 'uuid':
        return makeUuid;
      case 'snowflake':
        return this.parts.makeSnowflake;
      case 'custom':
        return () => config.id_prefix + makeUuid();
      case 'user_provided':
        return config.auto_generate_id ? makeUuid : undefined;
    }
  }

  /** A merge as the row that comes out of it, read when everything before it is applied. */
  async #asRows(command: MergeCommand): Promise<RowsCommand> {
    const { table, id, payload, timestamp } = command;
    const newest = (await newestRows(this.parts.engine, table, [id])).get(id);
    const record: RecordInput = {
      id,
      timestamp: timestamp ?? newest?.timestamp,
      payload: newest ? mergeFields(newest.payload, payload) : payload,
    };
    return { kind: 'rows', table, records: [record], replaces: true, onError: 'abort' };
  }

  async #prepareRestore(waiting: Waiting, table: Table, ids: readonly string[]): Promise<Prepared | undefined> {
    await this.#applying;
    if (table.config.write_mode === 'upsert') {
      const live = await this.parts.applier.visibleIds(table, ids);
      if (live.length > 0)
        throw new AppError('CONFLICT', `table ${table.name} keeps one row an id, and these have one: ${live.join(', ')}; delete it first`);
    }
    const count = await this.parts.applier.countRestorable(table, ids);
    if (count === 0) {
      waiting.resolve({ lsn: this.appliedLsn, ids, count: 0, refusals: [] });
      return undefined;
    }
    const write: Applicable = { kind: 'restore', tableId: table.id, ids, ...this.#seenBy(table), ...this.#lsns(count), ...keyOf(waiting) };
    return { waiting, table, schema: table.schema, write, answer: { lsn: lastLsn(write), ids, count, refusals: [] } };
  }

  #prepareBulk(waiting: Waiting): Prepared {
    const { command } = waiting;
    if (command.kind !== 'bulk') throw new AppError('INTERNAL', 'not a bulk command');
    const { table, file, columns } = command;
    if (table.schema.nextFieldId !== command.nextFieldIdBefore) throw new BulkOutdated();
    if (this.declareColumns && columns.length > 0) throw new ColumnsUndeclared(columns);
    table.schema = table.schema.withColumns(columns);
    const { statistics } = file;
    const write: Applicable = {
      kind: 'bulk',
      tableId: table.id,
      fileName: file.path.slice(file.path.lastIndexOf('/') + 1),
      statistics,
      columns,
      ...(command.replaces ? { replaces: command.replaces, ...this.#seenBy(table) } : {}),
      ...(command.keepsExisting ? { keepsExisting: true } : {}),
      ...this.#lsns(statistics.rows),
      ...keyOf(waiting),
    };
    return { waiting, table, schema: table.schema, write, answer: { lsn: lastLsn(write), ids: [], count: statistics.rows, refusals: [] } };
  }

  #seenBy(table: Table): { seen?: readonly number[] } {
    const seen = seenLogs(table.snapshot, this.parts.wal.id);
    return seen.length === 0 ? {} : { seen };
  }

  #lsns(count: number): { firstLsn: number; lsnCount: number } {
    const firstLsn = this.#lastLsn + 1;
    if (firstLsn + count > this.parts.wal.lsnEnd)
      throw new AppError(
        'UNAVAILABLE',
        'this write-ahead log has used up its numbers; stop the server and move its wal directory away to begin a new one',
      );
    this.#lastLsn += count;
    return { firstLsn, lsnCount: count };
  }

  /**
   * Reads the log back after a start: what the tables' files hold already is passed over, the rest goes into the buffers as it did the first time.
   * @returns writes replayed
   */
  async replay(): Promise<number> {
    const { registry, wal, applier } = this.parts;
    // Of all logs there ever were in this range: rows of a lost one must stay older than new ones.
    const known = registry.all().flatMap((table) => [...table.snapshot.transactions.values()]);
    this.#lastLsn = Math.max(wal.lsnStart - 1, ...known.filter((lsn) => lsn >= wal.lsnStart && lsn < wal.lsnEnd));
    let group: Addressed[] = [];
    let groupBytes = 0;
    let replayed = 0;
    const applyGroup = async (): Promise<void> => {
      const affected = await applier.apply(group, (table, error) => this.#giveUpTable(table, error));
      for (const { write, table } of group) if (!table.outOfService) this.#rememberAnswer(write, affected);
      replayed += group.length;
      group = [];
      groupBytes = 0;
    };
    if (this.parts.fetchesFiles) await this.#fence();
    for await (const record of wal.replay(committedText(registry.all(), wal.id))) {
      const write = fromWalRecord(record);
      this.#lastLsn = Math.max(this.#lastLsn, lastLsn(write));
      if (write.kind === 'bulk') this.bulkFilesInLog.add(write.fileName);
      const table = registry.findById(write.tableId);
      if (!table) {
        // The writes of a dropped table went with it. Of one that is out of service they stay, and of one that the catalogue never heard of: it may be
        // the catalogue that is lost.
        const stays = registry.isOutOfService(write.tableId) || !registry.hasSeen(write.tableId);
        if (stays && !this.#homeless.has(write.tableId)) this.#homeless.set(write.tableId, write.firstLsn);
        continue;
      }
      if (lastLsn(write) <= table.committedLsn(wal.id)) {
        // Its answer was saved before its commit.
        continue;
      }
      if ('columns' in write) table.schema = table.schema.withColumns(write.columns);
      group.push({ table, schema: table.schema, write });
      groupBytes += record.data.length;
      if (group.length >= REPLAY_GROUP_RECORDS_MAX || groupBytes >= REPLAY_GROUP_BYTES_MAX) await applyGroup();
    }
    if (group.length > 0) await applyGroup();
    for (const table of registry.all()) wal.assertReaches(table.committedLsn(wal.id), table.name);
    this.parts.visible.value = this.#lastLsn;
    for (const tableId of [...this.#homeless.keys()].filter((id) => !registry.isOutOfService(id)))
      this.parts.logger.error(
        { table_id: tableId },
        'the write-ahead log has writes of a table that the catalogue does not know; they stay there until the table is taken back with POST /v1/metadata/restore',
      );
    return replayed;
  }

  /**
   * A commit of the process before may still be on its way to the store, and come when its rows are in our buffers again. So each table that has rows
   * to replay gets a commit first: it takes the version that the late one would have taken.
   */
  async #fence(): Promise<void> {
    const { registry, wal, clock } = this.parts;
    const tables = new Set<Table>();
    for await (const record of wal.replay(committedText(registry.all(), wal.id))) {
      const write = fromWalRecord(record);
      const table = registry.findById(write.tableId);
      if (table && lastLsn(write) > table.committedLsn(wal.id)) tables.add(table);
    }
    for (const table of tables) {
      const before = table.snapshot;
      const snapshot = await table.log.commit(before, { name: 'FENCE', parameters: { wal: wal.id } }, (current) => [
        { txn: { appId: wal.id, version: current.transactions.get(wal.id) ?? 0, lastUpdated: clock.nowMs() } },
      ]);
      if (snapshot.version === before.version + 1) table.snapshot = snapshot;
      else await table.reopen(snapshot);
    }
  }

  /** A write is in the log and not in the buffers of its table, because a data file of that table cannot be read. The log keeps it. */
  #giveUpTable(table: Table, error: AppError): void {
    this.parts.registry.takeOutOfService(table, error);
    this.#homeless.set(table.id, table.committedLsn(this.parts.wal.id) + 1);
  }

  /** First LSN of writes whose table is not there to take them, though nobody dropped it. */
  get firstHomelessLsn(): number | undefined {
    return this.#homeless.size === 0 ? undefined : Math.min(...this.#homeless.values());
  }

  /** Applies what the log has for a table that was taken back; nobody may see the table before. */
  takeBack(table: Table): Promise<void> {
    return this.exclusive(async () => {
      this.#raiseLsn(table);
      if (!this.#homeless.has(table.id)) return;
      let replayed = 0;
      for await (const record of this.parts.wal.replay()) {
        const write = fromWalRecord(record);
        if (write.tableId !== table.id || lastLsn(write) <= table.committedLsn(this.parts.wal.id)) continue;
        if ('columns' in write) table.schema = table.schema.withColumns(write.columns);
        await this.parts.applier.apply([{ table, schema: table.schema, write }], (_table, error) => {
          throw error;
        });
        table.visibleChanges += 1;
        replayed += 1;
      }
      this.#homeless.delete(table.id);
      this.parts.logger.info({ writes: replayed }, `${table.logLabel} writes replayed from the write-ahead log`);
    });
  }

  #rememberAnswer(write: Applicable, affected: ReadonlyMap<number, number>): void {
    if (write.idempotencyKey === undefined || write.fingerprint === undefined) return;
    const ids = write.kind === 'rows' ? idsOf(write) : 'ids' in write ? write.ids : [];
    const count = write.kind === 'delete' || write.kind === 'restore' ? (affected.get(write.firstLsn) ?? 0) : write.lsnCount;
    this.parts.idempotencyKeys.remember(write.idempotencyKey, {
      fingerprint: write.fingerprint,
      answer: { lsn: lastLsn(write), ids, count, refusals: [] },
    });
  }

  /** Takes no more writes, and waits for those that are under way. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.exclusive(() => Promise.resolve());
  }
}

/** How far tables have the writes of a log in their files. */
function committedText(tables: readonly Table[], walId: string): string {
  const held = tables.map((table) => ({ name: table.name, lsn: table.committedLsn(walId) })).filter(({ lsn }) => lsn > 0);
  if (held.length === 0) return 'No table holds writes of this log in its files. ';
  const listed = held.sort((a, b) => b.lsn - a.lsn).slice(0, COMMITTED_TOLD_MAX);
  const more = held.length > listed.length ? `, and ${held.length - listed.length} more tables to lower ones` : '';
  return `Files of tables hold this log up to these LSNs: ${listed.map(({ name, lsn }) => `${name} ${lsn}`).join(', ')}${more}. `;
}

/** A command brings columns that the table's log must have first. */
class ColumnsUndeclared extends Error {
  constructor(readonly columns: readonly Column[]) {
    super('columns must be declared first');
  }
}

/** A command is for a table that is being dropped, here or on another node. */
class TableLeaving extends AppError {
  constructor({ name }: Table) {
    super('UNAVAILABLE', `table ${name} is being dropped; nothing was stored`, { retryAfterSeconds: 1 });
  }
}

/** A command's files have to be fetched again, because the table got others. */
class FilesMissing extends Error {}

/** Thrown when a bulk file's columns clash with others that came in while it was written: it has to be written again. */
export class BulkOutdated extends Error {}

function readsFirst(waiting: Waiting): boolean {
  return waiting.command.kind === 'merge' || waiting.command.kind === 'restore';
}

function keyOf({ idempotency }: Waiting): { idempotencyKey?: string; fingerprint?: string } {
  return idempotency ? { idempotencyKey: idempotency.key, fingerprint: idempotency.fingerprint } : {};
}

function rowsAnswer(lsn: number, encoded: EncodedRequest): WriteAnswer {
  return { lsn, ids: encoded.records.map((record) => record.id), count: encoded.records.length, refusals: encoded.refusals };
}

function addedColumns(before: TableSchema, after: TableSchema): TableSchema['columns'] {
  return before === after ? [] : after.columns.slice(before.columns.length);
}

/** `fields` over `base`; names are compared without case, and null takes a field away. */
function mergeFields(base: Record<string, unknown>, fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const replaced = new Set(Object.keys(fields).map((field) => field.toLowerCase()));
  const kept = Object.entries(base).filter(([field]) => !replaced.has(field.toLowerCase()));
  return { ...Object.fromEntries(kept), ...fields };
}
