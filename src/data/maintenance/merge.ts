/** Merges one group of data files into new ones: write → commit → publish. */
import { Inject, Injectable } from '@nestjs/common';
import { AppError } from '../../common/app-error.js';
import type { Clock } from '../../common/clock.js';
import { CLOCK } from '../../common/tokens.js';
import type { Lease } from '../../coordination/lease.js';
import { type DataFile, oldestMs } from '../../delta/snapshot.js';
import type { Table } from '../../tables/table.js';
import { NOTHING_FETCHED } from '../follow-path.js';
import { Freshness } from '../freshness.js';
import { WriteAheadLog } from '../wal/write-ahead-log.js';
import { GroupCommit } from '../write/group-commit.js';
import { WriterFailure } from '../write/writer-failure.js';
import { Rewriter } from './rewrite.js';
import { Segments } from './segments.js';

@Injectable()
export class Merge {
  constructor(
    @Inject(CLOCK) private readonly clock: Clock,
    private readonly segments: Segments,
    private readonly rewriter: Rewriter,
    private readonly groupCommit: GroupCommit,
    private readonly failure: WriterFailure,
    private readonly wal: WriteAheadLog,
    private readonly freshness: Freshness,
  ) {}

  /** @throws AppError CONFLICT when the lease is lost before the commit */
  async run(table: Table, group: readonly DataFile[], lease: Lease): Promise<void> {
    // What is committed and nothing later: a replay after a crash must find the rows that later deletes and restores speak of.
    const view = table.pin(table.committedLsn(this.wal.id));
    try {
      const live = group.filter((file) => table.snapshot.files.has(file.path));
      if (live.length === 0) return;
      const { rewriter, groupCommit, failure } = this;
      const rewrite = await rewriter.write(table, view, live, (sources) => this.segments.of(table, sources), view.schema);
      try {
        await table.commits.run(async () => {
          if (!lease.isHeld()) throw new AppError('CONFLICT', `table ${table.name}: the lease for its compaction was lost`);
          const snapshot = await rewriter.commit(rewrite, { name: 'OPTIMIZE', parameters: { files: String(live.length) } });
          // Nothing is fetched for a commit of our own: its files are known, and what others committed was shown before it.
          await groupCommit
            .exclusive(() => rewriter.publish(rewrite, snapshot, NOTHING_FETCHED))
            .catch((error: unknown) => {
              failure.fail(`table ${table.name}: a compaction could not be shown to readers`, error);
              throw error;
            });
        });
        this.freshness.note('compacted', this.clock.nowMs() - oldestMs(live));
      } finally {
        await rewriter.close(rewrite);
      }
    } catch (error) {
      throw await view.explained(error);
    } finally {
      view.release();
    }
  }
}
