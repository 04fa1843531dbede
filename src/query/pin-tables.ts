/** Pins every table of a statement in one tick, so that a query reads one state of the whole server, with the rows that its reader may see. */
import { Injectable } from '@nestjs/common';
import { assertMayRead } from '../common/access.js';
import { TableRegistry } from '../tables/table-registry.js';
import type { ReadView } from '../tables/view/read-view.js';
import { VisibleLsn } from '../tables/view/visible-lsn.js';
import { type AsOf, pinAsOf } from './paging/as-of.js';
import type { QueryRequest } from './query-request.js';
import type { SqlAnalysis } from './sql/analyse.js';
import { mayHoldMatches } from './sql/prune.js';

export type PinnedViews = ReadonlyMap<string, ReadView>;

@Injectable()
export class TablePins {
  constructor(
    private readonly registry: TableRegistry,
    private readonly visible: VisibleLsn,
  ) {}

  /** @throws AppError PERMISSION_DENIED for a table that the reader may not read, NOT_FOUND for one that does not exist */
  async pin(analysis: SqlAnalysis, { asOf, reader }: Pick<QueryRequest, 'asOf' | 'reader'>): Promise<PinnedViews> {
    for (const name of analysis.tables) assertMayRead(name, reader);
    const views = await this.#pinNow(analysis, asOf);
    for (const [name, view] of views) {
      const condition = reader.rowsOf(name);
      if (condition === undefined) continue;
      view.onlyRows(condition);
      // Files are left out by what all of their rows have: a statement that fails where there is anything to read would tell of it.
      view.keepOnly(() => true);
    }
    return views;
  }

  async #pinNow({ tables: names, conditions }: SqlAnalysis, asOf: AsOf | undefined): Promise<PinnedViews> {
    const tables = names.map((name) => this.registry.get(name));
    if (asOf !== undefined) return pinAsOf(tables, asOf);
    const lsn = this.visible.value;
    const views = new Map(tables.map((table) => [table.name, table.pin(lsn)]));
    for (const view of views.values()) if (conditions.length > 0) view.keepOnly(mayHoldMatches(conditions, view.schema));
    return views;
  }
}

export function releaseAll(views: PinnedViews): void {
  for (const view of views.values()) view.release();
}
