/**
 * What the backup bucket has: a copy of each table, and of the small objects that belong to no table. One of several nodes copies a table at a time.
 */
import { Inject, Injectable } from '@nestjs/common';
import { AppError } from '../../common/app-error.js';
import { LEASE_STORE, OBJECT_STORE } from '../../common/tokens.js';
import type { LeaseStore } from '../../coordination/lease.js';
import type { ObjectStore } from '../../storage/object-store.js';
import type { RemoteObjectStore } from '../../storage/remote-object-store.js';
import { ScratchFiles } from '../../storage/scratch-files.js';
import type { Table } from '../../tables/table.js';
import { removeReplica, TableReplica } from './table-replica.js';

/** Small objects that belong to no table: which tables there are, and which numbers each write-ahead log gives. */
const SHARED_PREFIXES = ['_catalogue/', '_wals/'];
const LEASE_MS = 600_000;

export interface Copied {
  readonly bytes: number;
  /** The copy has every commit that the table had when the copying began; others may have come since. */
  readonly hasCaughtUp: boolean;
}

@Injectable()
export class Copies {
  readonly #replicas = new Map<string, TableReplica>();

  constructor(
    @Inject(LEASE_STORE) private readonly leases: LeaseStore,
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly scratch: ScratchFiles,
  ) {}

  /**
   * Brings the copy of a table up to its newest version; does nothing while another node copies it.
   * @param mayGoOn asked before each commit
   */
  async copyTable(table: Table, to: RemoteObjectStore, mayGoOn: () => boolean): Promise<Copied> {
    const lease = await this.leases.acquire(`replication:${table.id}`, LEASE_MS);
    if (!lease) return { bytes: 0, hasCaughtUp: false };
    try {
      if (table.isDropped) return { bytes: 0, hasCaughtUp: true };
      const known = this.#replicas.get(table.id);
      const replica = known ?? (await TableReplica.open(table, this.store, to, this.scratch));
      this.#replicas.set(table.id, replica);
      const { version } = table.snapshot;
      const bytes = await replica.catchUp(() => mayGoOn() && lease.isHeld());
      return { bytes, hasCaughtUp: replica.version >= version };
    } catch (error) {
      this.#replicas.delete(table.id);
      if (!(error instanceof AppError && table.isDropped)) throw error;
      return { bytes: 0, hasCaughtUp: true };
    } finally {
      await lease.release();
    }
  }

  /** True when nothing of a table is left to copy. */
  isCurrent(table: Table): boolean {
    return table.isDropped || (this.#replicas.get(table.id)?.version ?? -1) >= table.snapshot.version;
  }

  /** Takes the copy of a dropped table away. */
  async remove(table: Table, from: RemoteObjectStore): Promise<void> {
    await removeReplica(table, from);
    this.#replicas.delete(table.id);
  }

  async copyShared(to: RemoteObjectStore): Promise<void> {
    for (const prefix of SHARED_PREFIXES) {
      const there = new Set<string>();
      for await (const { key } of to.list(prefix)) there.add(key);
      for await (const { key } of this.store.list(prefix)) {
        const bytes = there.has(key) ? undefined : await this.store.get(key);
        if (bytes) await to.putIfAbsent(key, bytes);
      }
    }
  }

  /** Removes from the copies what no version needs any more. */
  async sweep(tables: readonly Table[]): Promise<void> {
    for (const table of tables) await this.#replicas.get(table.id)?.sweep();
  }
}
