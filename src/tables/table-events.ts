/**
 * What happens to tables, for the parts that have to do something about it. A part adds its listeners when it is made; they are called in that order.
 *
 * Some events are only told; of the others the part that raises them goes on when every listener has done its part, and fails when one fails.
 */
import { Injectable } from '@nestjs/common';
import { AppError } from '../common/app-error.js';
import type { Snapshot } from '../delta/snapshot.js';
import type { Table } from './table.js';

interface Told {
  /** Rows or masks became visible. */
  readonly applied: (table: Table) => void;
  /** This node committed a version, and readers see it. */
  readonly committed: (table: Table) => void;
  /** The table is gone from the catalogue, by this node or by another. */
  readonly dropped: (table: Table) => void;
}

interface Awaited {
  /** This node committed a version that readers do not see yet: whoever follows the log shows it. */
  readonly versionCommitted: (table: Table, snapshot: Snapshot) => Promise<void>;
  /** Rows that only buffers hold, here or on other nodes, are needed in the tables' files. */
  readonly rowsNeeded: (tables: readonly Table[]) => Promise<void>;
  /** A table was taken back into the catalogue, and nobody sees it yet. */
  readonly adopted: (table: Table) => Promise<void>;
  /** A dropped table is about to free what it holds. */
  readonly closing: (table: Table) => Promise<void>;
}

type Listeners<Kinds> = { readonly [Kind in keyof Kinds]: Kinds[Kind][] };

@Injectable()
export class TableEvents {
  readonly #told: Listeners<Told> = { applied: [], committed: [], dropped: [] };
  readonly #awaited: Listeners<Awaited> = { versionCommitted: [], rowsNeeded: [], adopted: [], closing: [] };

  /** Adds a listener to events that are only told. It must not throw. */
  on<Kind extends keyof Told>(kind: Kind, listener: Told[Kind]): void {
    this.#told[kind].push(listener);
  }

  tell(kind: keyof Told, table: Table): void {
    for (const listener of this.#told[kind]) listener(table);
  }

  /** Adds a listener to events that are waited for. */
  before<Kind extends keyof Awaited>(kind: Kind, listener: Awaited[Kind]): void {
    this.#awaited[kind].push(listener);
  }

  /** Has every listener do its part, one after the other. @throws AppError INTERNAL when there is none: a part is missing from the module */
  async ask<Kind extends keyof Awaited>(kind: Kind, ...details: Parameters<Awaited[Kind]>): Promise<void> {
    const listeners = this.#awaited[kind] as ((...given: Parameters<Awaited[Kind]>) => Promise<void>)[];
    if (listeners.length === 0) throw new AppError('INTERNAL', `no part of this server listens to ${kind}`);
    for (const listener of listeners) await listener(...details);
  }
}
