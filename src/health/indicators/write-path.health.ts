/** The writer's loop takes a turn, and the disk of the write-ahead log syncs. */
import { Injectable } from '@nestjs/common';
import type { HealthIndicatorResult } from '@nestjs/terminus';
import { WriteAheadLog } from '../../data/wal/write-ahead-log.js';
import { GroupCommit } from '../../data/write/group-commit.js';
import { WriterFailure } from '../../data/write/writer-failure.js';
import type { Indicator } from './indicator.js';
import { Trial } from './trial.js';

@Injectable()
export class WritePathHealth implements Indicator {
  constructor(
    private readonly trial: Trial,
    private readonly groupCommit: GroupCommit,
    private readonly failure: WriterFailure,
    private readonly wal: WriteAheadLog,
  ) {}

  check(): PromiseLike<HealthIndicatorResult> {
    return this.trial.of('write_path', () => this.#write());
  }

  async #write(): Promise<void> {
    const { groupCommit, failure, wal } = this;
    if (failure.error) throw failure.error;
    await Promise.all([groupCommit.exclusive(() => Promise.resolve()), wal.probe()]);
  }
}
