/**
 * A node that starts with an empty log although it had one before: its disk was lost, or not mounted. What was flushed is in the store; what that log had
 * acknowledged besides is not, and nothing else would say so. So it is said at every start and in health, until the disk is back or a person accepts it.
 *
 * `lost-log` in the directory of the new log says what is missing; renamed to `lost-log.accepted` it is not told any more.
 */
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import { Config } from '../../config/config.js';
import type { Logger } from '../../common/logger.js';
import { DATA_PATHS, LOGGER, OBJECT_STORE } from '../../common/tokens.js';
import type { DataPaths } from '../../config/data-paths.js';
import { TableRegistry } from '../../tables/table-registry.js';
import { isSystemError } from '../../common/app-error.js';
import { syncDirectory } from '../../storage/local-object-store.js';
import type { ObjectStore } from '../../storage/object-store.js';
import type { Table } from '../../tables/table.js';
import { type Claim, claimsOf, LSNS_PER_WAL } from './lsn-range.js';
import { WriteAheadLog } from './write-ahead-log.js';

const FILE = 'lost-log';

@Injectable()
export class LostLog {
  readonly #file: string;
  #text: string | undefined;

  constructor(
    private readonly config: Config,
    @Inject(LOGGER) private readonly logger: Logger,
    @Inject(DATA_PATHS) paths: DataPaths,
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly registry: TableRegistry,
    private readonly wal: WriteAheadLog,
  ) {
    this.#file = path.join(paths.wal, FILE);
  }

  /** Finds out whether this node had another log. At the start, when the tables are open. */
  async look(): Promise<void> {
    if (this.wal.isUnused && !existsSync(`${this.#file}.accepted`)) {
      const tables = this.registry.all();
      // A store that only this process uses has logs of this node only.
      const isOwnStore = this.config.storage.kind === 'local';
      const former = isOwnStore ? formerOf(tables, this.wal) : await formerClaim(this.store, this.wal, this.config.node_id);
      if (former) {
        await writeFile(this.#file, textOf(former, tables), { flush: true });
        await syncDirectory(path.dirname(this.#file));
      }
    }
    this.#text = await textIn(this.#file);
    // The log of the server may have paths; what is told of it may not.
    if (this.told !== undefined) this.logger.error(`${this.told}. The command is: mv ${this.#file} ${this.#file}.accepted`);
  }

  /** What is missing; undefined when nothing is, or when it was accepted. */
  get told(): string | undefined {
    return this.#text !== undefined && existsSync(this.#file) ? this.#text : undefined;
  }
}

async function textIn(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  }
}

/** The newest log before this one that the node began. */
async function formerClaim(store: ObjectStore, wal: WriteAheadLog, nodeId: string): Promise<Claim | undefined> {
  const claims = await claimsOf(store);
  return claims.filter((claim) => claim.nodeId === nodeId && claim.walId !== wal.id && claim.range * LSNS_PER_WAL < wal.lsnStart).at(-1);
}

/** The log whose writes the tables have the latest of. */
function formerOf(tables: readonly Table[], wal: WriteAheadLog): Claim | undefined {
  const known = tables.flatMap((table) => [...table.snapshot.transactions]).filter(([walId]) => walId !== wal.id);
  const [walId] = known.sort(([, left], [, right]) => left - right).at(-1) ?? [];
  return walId === undefined ? undefined : { range: 0, walId, nodeId: '' };
}

function textOf({ walId, range }: Claim, tables: readonly Table[]): string {
  const held = tables.map((table) => ({ name: table.name, lsn: table.committedLsn(walId) })).filter(({ lsn }) => lsn > 0);
  const last = held.sort((left, right) => left.lsn - right.lsn).at(-1);
  const known = last ? `the tables hold it up to LSN ${last.lsn} (table ${last.name})` : 'no table holds any of it';
  return (
    `this node had another write-ahead log, ${walId} with LSN ${range * LSNS_PER_WAL + 1} to ${(range + 1) * LSNS_PER_WAL}, which is not on this disk; ${known}, ` +
    'and what it acknowledged and did not flush is missing. Stop the server and bring the disk with that log back; if it is lost, accept that by renaming ' +
    `the file ${FILE} in the directory of the write-ahead log to ${FILE}.accepted. If another server has the same NODE_ID, give each its own`
  );
}
