/** Gives writes their LSNs: one after the other, within the range of this server's log. */
import { Injectable } from '@nestjs/common';
import { AppError } from '../../common/app-error.js';
import type { Table } from '../../tables/table.js';
import { WriteAheadLog } from '../wal/write-ahead-log.js';

@Injectable()
export class LsnCounter {
  #last: number;

  constructor(private readonly wal: WriteAheadLog) {
    this.#last = wal.lsnStart - 1;
  }

  /** The last LSN that was given. */
  get last(): number {
    return this.#last;
  }

  /** @throws AppError UNAVAILABLE when the range of the log is used up */
  take(count: number): { firstLsn: number; lsnCount: number } {
    const firstLsn = this.#last + 1;
    if (firstLsn + count > this.wal.lsnEnd)
      throw new AppError(
        'UNAVAILABLE',
        'this write-ahead log has used up its numbers; stop the server and move its wal directory away to start a new one',
      );
    this.#last += count;
    return { firstLsn, lsnCount: count };
  }

  /** Takes back LSNs of writes that were not logged. */
  rewind(last: number): void {
    this.#last = last;
  }

  /** Later writes are younger than this one, if it is of this log's range. */
  raise(lsn: number): void {
    if (lsn >= this.wal.lsnStart && lsn < this.wal.lsnEnd) this.#last = Math.max(this.#last, lsn);
  }

  /** Makes later writes younger than what the files of a table hold of this log's range. */
  raiseTo(table: Table): void {
    for (const lsn of table.snapshot.transactions.values()) this.raise(lsn);
  }
}
