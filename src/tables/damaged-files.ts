/**
 * Data files that the engine could not read: found when somebody reads them, told by table and by their path in the table, remembered for health
 * and metrics until they can be read again or have left their table.
 *
 * The engine's own text names files by their place on this server, quotes values of rows, and sometimes names nothing. So a failure that may come from
 * a file is looked into: the files that were being read are read once more, each alone, and the first that fails is the one. A statement cannot
 * make a file look damaged: what the engine says of it only decides whether to look.
 */
import { stat } from 'node:fs/promises';
import { Inject, Injectable } from '@nestjs/common';
import { CLOCK, LOGGER } from '../common/tokens.js';
import { AppError, messageOf } from '../common/app-error.js';
import type { Clock } from '../common/clock.js';
import type { Logger } from '../common/logger.js';
import { Engine, isInterrupt, isOutOfMemory } from '../engine/duckdb/engine.js';
import { quoteText } from '../engine/duckdb/sql-text.js';
import type { DataFile } from '../delta/snapshot.js';
import type { ReadView } from './view/read-view.js';
import type { Table } from './table.js';

/** What the engine says of a file without naming it. */
const NAMES_NO_FILE = /^(Invalid|Serialization) Error: /;
/** Failures of the machine, which pass. */
const NOT_THE_FILE = /EMFILE|ENFILE|EACCES|EPERM|Too many open files|Permission denied/;
/** Files that are looked at for one failure that names none. */
const SUSPECTS_MAX = 2_000;
/** A file whose place on this disk did not change is looked at again after this long: it may be in a bucket. */
const RECHECK_MS = 60_000;
/** Damaged files that are remembered. */
const FILES_MAX = 1_000;

interface Damaged {
  readonly table: Table;
  readonly file: DataFile;
  /** The state of the local file that was looked at. */
  stamp: string;
  checkedMs: number;
}

@Injectable()
export class DamagedFiles {
  readonly #damaged = new Map<string, Damaged>();
  readonly #told = new WeakSet<AppError>();

  constructor(
    private readonly engine: Engine,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** @returns what to tell of a failure that a damaged or missing file of these views explains */
  async explain(error: unknown, views: Iterable<ReadView>): Promise<AppError | undefined> {
    if (error instanceof AppError && this.#told.has(error)) return error;
    const opened = [...views].flatMap((view) => view.openedFiles.map(({ file, path }) => ({ table: view.table, file, path })));
    for (const { table, file, path } of suspects(error, opened))
      if (await this.#cannotBeRead(file, path)) return this.#note(table, file, await stampOf(path), error);
    return undefined;
  }

  /** For what copies a file without reading its rows. @throws AppError DATA_CORRUPTION when it is missing or has another size than the log says */
  async assertWhole(table: Table, file: DataFile, path: string): Promise<void> {
    const size = await stat(path).then(
      (found) => found.size,
      () => undefined,
    );
    if (size !== file.sizeBytes)
      throw this.#note(table, file, await stampOf(path), new Error(`${size ?? 'no'} bytes instead of ${file.sizeBytes}`));
  }

  async #cannotBeRead(file: DataFile, path: string | undefined): Promise<boolean> {
    if (path === undefined) return true;
    try {
      if ((await stat(path)).size !== file.sizeBytes) return true;
      await this.engine.rows(`SELECT count(*) FROM (SELECT hash(COLUMNS(*)) FROM read_parquet(${quoteText(path)}))`);
      return false;
    } catch (error) {
      return !isInterrupt(error) && !isOutOfMemory(error) && !NOT_THE_FILE.test(messageOf(error));
    }
  }

  #note(table: Table, file: DataFile, stamp: string, cause: unknown): AppError {
    const key = table.keyOf(file);
    if (!this.#damaged.has(key) && this.#damaged.size < FILES_MAX)
      this.logger.error({ err: cause, key }, `${table.logLabel} data file ${file.path} is damaged or missing`);
    if (this.#damaged.size < FILES_MAX) this.#damaged.set(key, { table, file, stamp, checkedMs: this.clock.nowMs() });
    const told = new AppError(
      'DATA_CORRUPTION',
      `table ${table.name}: data file ${file.path} is damaged or missing; put object ${key} back from a copy, or take the table back with POST /v1/recover`,
      { cause },
    );
    this.#told.add(told);
    return told;
  }

  /** By table: its damaged files, those left out that are good again or no longer the table's. */
  async byTable(): Promise<ReadonlyMap<string, readonly string[]>> {
    for (const [key, damaged] of this.#damaged) if (await this.#isOver(damaged)) this.#damaged.delete(key);
    const byTable = new Map<string, string[]>();
    for (const { table, file } of this.#damaged.values()) byTable.set(table.name, [...(byTable.get(table.name) ?? []), file.path]);
    return byTable;
  }

  async #isOver(damaged: Damaged): Promise<boolean> {
    const { table, file } = damaged;
    if (table.isDropped || !table.snapshot.files.has(file.path)) return true;
    const object = await table.openFile(file).catch(() => undefined);
    try {
      const stamp = await stampOf(object?.path);
      if (stamp === damaged.stamp && this.clock.nowMs() - damaged.checkedMs < RECHECK_MS) return false;
      damaged.stamp = stamp;
      damaged.checkedMs = this.clock.nowMs();
      if (await this.#cannotBeRead(file, object?.path)) return false;
      this.logger.info(`${table.logLabel} data file ${file.path} can be read again`);
      return true;
    } finally {
      object?.release();
    }
  }
}

interface Opened {
  readonly table: Table;
  readonly file: DataFile;
  /** Undefined for one that the store could not give. */
  readonly path: string | undefined;
}

/** Which of the files that were being read a failure may come from. */
function suspects(error: unknown, opened: readonly Opened[]): readonly Opened[] {
  if (error instanceof AppError) return error.code === 'DATA_CORRUPTION' ? opened.filter(({ path }) => path === undefined) : [];
  const message = messageOf(error);
  const named = opened.filter(({ path }) => path !== undefined && message.includes(path));
  return named.length === 0 && NAMES_NO_FILE.test(message) ? opened.slice(0, SUSPECTS_MAX) : named;
}

/** Another text when the file was changed, removed or put back. */
async function stampOf(path: string | undefined): Promise<string> {
  if (path === undefined) return '';
  return stat(path).then(
    ({ ino, size, mtimeMs, ctimeMs }) => [ino, size, mtimeMs, ctimeMs].join(),
    () => '',
  );
}
