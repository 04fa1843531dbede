/** Keeps the tables of this server in step with the catalogue: opens them at the start, takes over what other nodes make, lets go of what they drop. */
import { Inject, Injectable } from '@nestjs/common';
import pMap from 'p-map';
import { AppError, messageOf } from '../common/app-error.js';
import type { Logger } from '../common/logger.js';
import { LOGGER } from '../common/tokens.js';
import { Catalogue, type CatalogueTable } from './catalogue.js';
import { TableOpener } from './open-table.js';
import { TableRemoval } from './remove-table.js';
import type { Table } from './table.js';
import { TableEvents } from './table-events.js';
import { TableRegistry } from './table-registry.js';

/** Tables whose logs are read at once at the start. */
const OPENING_MAX = 8;

@Injectable()
export class CatalogueSync {
  constructor(
    private readonly catalogue: Catalogue,
    private readonly registry: TableRegistry,
    private readonly opener: TableOpener,
    private readonly removal: TableRemoval,
    private readonly events: TableEvents,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Opens every table of the catalogue and removes what dropped ones left behind. */
  async open(): Promise<void> {
    await this.opener.prepareEngine();
    const { live, dropped, damaged } = await this.catalogue.load();
    for (const { name, reason } of damaged) this.registry.leaveOut({ name, tableId: undefined, reason });
    const tables = await pMap(live, (catalogued) => this.#openIfWhole(catalogued), { concurrency: OPENING_MAX });
    for (const table of tables) if (table) this.registry.add(table);
    for (const catalogued of dropped) await this.removal.purge(catalogued);
  }

  /** @returns undefined for a table whose log is damaged: it is out of service, and the others are not */
  async #openIfWhole(catalogued: CatalogueTable): Promise<Table | undefined> {
    const { name, tableId, directory } = catalogued;
    try {
      return await this.opener.open(catalogued);
    } catch (error) {
      if (!isDamage(error)) throw error;
      const told =
        error instanceof AppError
          ? error.message
          : `its log below ${directory}/_delta_log/ cannot be understood (${messageOf(error)}); restore it from a backup`;
      this.registry.leaveOut({ name, tableId, reason: new AppError('DATA_CORRUPTION', told, { cause: error }) });
      return undefined;
    }
  }

  /** Takes over what other nodes created, and lets go of what they dropped. */
  async refresh(): Promise<void> {
    // Taken before the catalogue is read: a table made meanwhile is not in what is read.
    const known = this.registry.all();
    const { live } = await this.catalogue.load();
    const liveIds = new Set(live.map(({ tableId }) => tableId));
    for (const table of known)
      // Dropped is what the catalogue says is dropped, not what it lost.
      if (!liveIds.has(table.id) && this.catalogue.hasSeen(table.id)) await this.registry.changeAlone(table.name, () => this.#letGo(table));
    for (const catalogued of live) await this.registry.changeAlone(catalogued.name, () => this.#takeOver(catalogued));
  }

  async #takeOver(catalogued: CatalogueTable): Promise<void> {
    const { name, tableId } = catalogued;
    if (this.registry.findById(tableId) || this.registry.mustWaitForRestart(tableId)) return;
    // One of the same name that is dropped goes first, at the next look.
    if (this.registry.find(name)) return;
    // It may have been dropped since the catalogue was read, by this node, too: it must not come back.
    if (!(await this.catalogue.isLive(name, tableId))) return;
    const table = await this.#openIfWhole(catalogued);
    if (!table) return;
    if (this.registry.putBack(name)) await this.events.ask('adopted', table);
    this.registry.add(table, 'taken over from another node');
  }

  /** @returns when it is out of sight; what it holds is freed later */
  #letGo(table: Table): Promise<void> {
    if (table.isDropped) return Promise.resolve();
    table.isDropped = true;
    this.registry.remove(table);
    this.logger.info({ table_id: table.id }, `${table.logLabel} was dropped by another node`);
    this.events.tell('dropped', table);
    void this.removal
      .close(table)
      .catch((error: unknown) => this.logger.error({ err: error }, `${table.logLabel} could not free its resources`));
    return Promise.resolve();
  }
}

/** Failures that come from what is stored; others (a store that is away) may pass. */
function isDamage(error: unknown): boolean {
  if (error instanceof AppError) return error.code === 'DATA_CORRUPTION' || error.code === 'NOT_FOUND';
  return error instanceof SyntaxError || error instanceof TypeError || error instanceof RangeError;
}
