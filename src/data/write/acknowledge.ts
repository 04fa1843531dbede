/** The last stages of a write: what is logged is applied to buffers and masks, becomes visible, and is acknowledged. */
import { Injectable } from '@nestjs/common';
import { faultPoint } from '../../common/fault-points.js';
import { TableEvents } from '../../tables/table-events.js';
import { VisibleLsn } from '../../tables/view/visible-lsn.js';
import { Freshness } from '../freshness.js';
import { lastLsn } from './applicable.js';
import { Applier } from './apply.js';
import { Replay } from './replay.js';
import type { Prepared, Waiting } from './waiting.js';
import { WriterFailure } from './writer-failure.js';

/** A write that is in the log, with whoever waits for it. */
export type Logged = Prepared & { readonly waiting: Waiting };

@Injectable()
export class Acknowledge {
  constructor(
    private readonly applier: Applier,
    private readonly visible: VisibleLsn,
    private readonly freshness: Freshness,
    private readonly events: TableEvents,
    private readonly failure: WriterFailure,
    private readonly replay: Replay,
  ) {}

  async run(logged: readonly Logged[]): Promise<void> {
    let affected: Map<number, number>;
    try {
      affected = await this.applier.apply(logged, (table, error) => this.replay.giveUp(table, error));
    } catch (error) {
      // The log has these writes and the buffer does not: only a replay can put that right.
      const failure = this.failure.fail('a logged write could not be applied to the buffer', error);
      for (const { waiting } of logged) waiting.reject(failure);
      return;
    }
    faultPoint('apply.after');
    this.visible.value = Math.max(...logged.map(({ write }) => lastLsn(write)));
    const tables = new Set(logged.map(({ table }) => table));
    for (const table of tables) table.visibleChanges += 1;
    const nowMs = performance.now();
    for (const { waiting, answer, write, table } of logged) {
      if (table.outOfService) {
        waiting.reject(table.outOfService);
        continue;
      }
      this.freshness.note('visible', nowMs - waiting.arrivedMs);
      const count = write.kind === 'rows' || write.kind === 'arrow' ? answer.count : (affected.get(write.firstLsn) ?? 0);
      waiting.resolve({ kind: 'stored', answer: { ...answer, count } });
    }
    for (const table of tables) this.events.tell('applied', table);
  }
}
