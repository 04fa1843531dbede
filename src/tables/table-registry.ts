/** The tables of this server as they stand in memory, and those that exist and cannot be served. Names are compared without case. */
import { Inject, Injectable } from '@nestjs/common';
import { AppError } from '../common/app-error.js';
import type { Logger } from '../common/logger.js';
import { LOGGER } from '../common/tokens.js';
import { LimitsConfig } from '../config/config.js';
import { Catalogue } from './catalogue.js';
import type { Table } from './table.js';

/** A table that exists, or may exist, and cannot be served. */
export interface OutOfService {
  readonly name: string;
  /** Undefined when the catalogue's own entry is damaged. */
  readonly tableId: string | undefined;
  readonly reason: AppError;
}

@Injectable()
export class TableRegistry {
  readonly #byKey = new Map<string, Table>();
  /** Tables that cannot be served, by name in lower case: nobody reads, writes or makes one of that name, and their writes stay in the log. */
  readonly #outOfService = new Map<string, OutOfService>();
  /** Those of them that failed while they were written to. */
  readonly #untilRestart = new Set<string>();
  /** Creations and drops by name, so that two of the same name do not cross. */
  readonly #changing = new Map<string, Promise<unknown>>();

  constructor(
    private readonly limits: LimitsConfig,
    private readonly catalogue: Catalogue,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  all(): Table[] {
    return [...this.#byKey.values()];
  }

  /** The table of this name, whatever its case. */
  find(name: string): Table | undefined {
    return this.#byKey.get(name.toLowerCase());
  }

  /** @throws AppError NOT_FOUND, with how to make it */
  get(name: string): Table {
    const table = this.find(name);
    if (table) return table;
    this.#assertInService(name);
    throw new AppError('NOT_FOUND', `table ${name} does not exist; create it with POST /v1/tables {"table_name":"${name}"}`);
  }

  findById(id: string): Table | undefined {
    return this.all().find((table) => table.id === id);
  }

  /** True for a table that the catalogue knows, dropped ones included. */
  hasSeen(tableId: string): boolean {
    return this.catalogue.hasSeen(tableId);
  }

  /** @param verb what happened to the table, for the log; undefined at the start */
  add(table: Table, verb?: string): void {
    this.#byKey.set(table.name.toLowerCase(), table);
    if (verb !== undefined) this.logger.info({ table_id: table.id, directory: table.directory }, `${table.logLabel} ${verb}`);
  }

  remove(table: Table): void {
    this.#byKey.delete(table.name.toLowerCase());
  }

  /** Runs changes of which tables there are of one name, one after the other. */
  async changeAlone<T>(name: string, change: () => Promise<T>): Promise<T> {
    const key = name.toLowerCase();
    const before = this.#changing.get(key) ?? Promise.resolve();
    const after = before.catch(() => undefined).then(change);
    this.#changing.set(key, after);
    try {
      return await after;
    } finally {
      if (this.#changing.get(key) === after) this.#changing.delete(key);
    }
  }

  /** @throws AppError for a name that no table can get now: ALREADY_EXISTS, DATA_CORRUPTION, RESOURCE_EXHAUSTED past the number of tables allowed */
  assertFree(name: string): void {
    this.#assertInService(name);
    if (this.find(name)) throw new AppError('ALREADY_EXISTS', `table ${name} already exists`);
    if (this.#byKey.size >= this.limits.tables_max) {
      throw new AppError('RESOURCE_EXHAUSTED', `there are already ${this.#byKey.size} tables (limits.tables_max); drop one first`);
    }
  }

  /** @throws AppError DATA_CORRUPTION for a table that exists and cannot be served */
  #assertInService(name: string): void {
    const out = this.#outOfService.get(name.toLowerCase());
    if (out) throw out.reason;
  }

  /**
   * Stops serving a table whose rows cannot be trusted any more. What the log has for it stays there; a restart tries again.
   * @returns what its callers are told
   */
  takeOutOfService(table: Table, cause: AppError): AppError {
    this.#untilRestart.add(table.id);
    table.outOfService = this.leaveOut({ name: table.name, tableId: table.id, reason: cause });
    this.remove(table);
    return table.outOfService;
  }

  /** Notes a table that cannot be served. @returns what its callers are told */
  leaveOut({ name, tableId, reason }: OutOfService): AppError {
    const told = new AppError('DATA_CORRUPTION', `table ${name} is out of service: ${reason.message}`, { cause: reason });
    const key = name.toLowerCase();
    if (this.#outOfService.get(key)?.reason.message !== told.message) this.logger.error({ err: reason, table_id: tableId }, told.message);
    this.#outOfService.set(key, { name, tableId, reason: told });
    return told;
  }

  /** Serves a name again. @returns whether it was out of service */
  putBack(name: string): boolean {
    return this.#outOfService.delete(name.toLowerCase());
  }

  /** Tables that exist and are not served, with the reason. */
  outOfService(): OutOfService[] {
    return [...this.#outOfService.values()];
  }

  /** True for a table whose writes must stay in the log, because it exists, or may exist, and cannot take them now. */
  isOutOfService(tableId: string): boolean {
    return this.outOfService().some((out) => out.tableId === tableId);
  }

  /** True for a table whose rows in the buffers are not what the log says: only a restart, which reads the log, makes them so. */
  mustWaitForRestart(tableId: string): boolean {
    return this.#untilRestart.has(tableId);
  }
}

/** True for the name of a table as the table itself has it: what a label of a metric may be. */
export function isNameOfTable(registry: TableRegistry, name: string): boolean {
  return registry.find(name)?.name === name;
}
