/** The Delta logs of tables, and the other things that are made for a table's directory. */
import { Inject, Injectable, Optional } from '@nestjs/common';
import type { Clock } from '../common/clock.js';
import { CLOCK, OBJECT_STORE } from '../common/tokens.js';
import { DropNotices } from '../coordination/drop-notices.js';
import { CheckpointFiles } from '../delta/checkpoint.js';
import { DeltaLog } from '../delta/delta-log.js';
import type { Snapshot } from '../delta/snapshot.js';
import { EmptyFile } from '../delta/table-protocol.js';
import { Engine } from '../engine/duckdb/engine.js';
import type { ObjectStore } from '../storage/object-store.js';
import { ScratchFiles } from '../storage/scratch-files.js';

@Injectable()
export class TableLogs {
  readonly #checkpoints: CheckpointFiles;

  constructor(
    @Inject(OBJECT_STORE) private readonly store: ObjectStore,
    private readonly engine: Engine,
    private readonly scratch: ScratchFiles,
    @Inject(CLOCK) private readonly clock: Clock,
    @Optional() @Inject(DropNotices) private readonly dropNotices: DropNotices | undefined,
  ) {
    this.#checkpoints = new CheckpointFiles(store, engine, scratch);
  }

  at(directory: string): DeltaLog {
    return new DeltaLog(this.store, directory, this.#checkpoints, this.clock, this.dropNotices !== undefined);
  }

  /** The newest version of a directory, whether or not the catalogue knows it. @returns undefined when there is none */
  loadIfAny(directory: string): Promise<Snapshot | undefined> {
    return this.at(directory).loadIfAny();
  }

  emptyFileOf(directory: string): EmptyFile {
    return new EmptyFile(this.store, this.engine, this.scratch, directory);
  }
}
