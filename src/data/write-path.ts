/**
 * The path of a write, stage by stage:
 *
 *   hold files → admit → prepare (check, encode, LSNs) → log (WAL, one fsync for many) → apply to buffer and masks → acknowledge
 *
 * The stages from `admit` on are those of the one writer loop (`write/group-commit.ts`). A command that needs something done first (a column
 * widened or declared, files fetched again) leaves the loop, has it done here, and comes back. A write is acknowledged once it is synced and
 * applied: durable, and visible to the next query.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { Injectable } from '@nestjs/common';
import { AppError } from '../common/app-error.js';
import { traced } from '../common/tracing.js';
import { CatalogueSync } from '../tables/catalogue-sync.js';
import { OtherNodes } from '../tables/other-nodes.js';
import { DeclareColumns } from './maintenance/declare-columns.js';
import { Widening } from './maintenance/widening.js';
import { GroupCommit } from './write/group-commit.js';
import { HoldFiles } from './write/hold-files.js';
import { type Idempotency, IdempotencyKeys } from './write/idempotency.js';
import type { Outcome } from './write/waiting.js';
import { RowsOutdated, type WriteAnswer, type WriteCommand } from './write/write-command.js';

/** How often a command may leave the loop; each time settles a column or a set of files. */
const ROUNDS_MAX = 100;
/** How often and how long a write waits for the end of its table's drop. */
const LEAVING_ATTEMPTS_MAX = 20;
const LEAVING_PAUSE_MS = 100;

/** How a command ends that was carried as far as it goes. */
type Ending = Extract<Outcome, { kind: 'stored' | 'leaving' | 'outdated' }>;

@Injectable()
export class WritePath {
  constructor(
    private readonly idempotencyKeys: IdempotencyKeys,
    private readonly holdFiles: HoldFiles,
    private readonly groupCommit: GroupCommit,
    private readonly widening: Widening,
    private readonly declareColumns: DeclareColumns,
    private readonly otherNodes: OtherNodes,
    private readonly sync: CatalogueSync,
  ) {}

  /**
   * Stores a write. @returns once it is durable and visible
   * @param make gives the command, and may create its table; not asked when the request was answered before
   * @throws AppError INVALID_ARGUMENT for rows that do not fit, RESOURCE_EXHAUSTED when too much waits, UNAVAILABLE when it could not be stored;
   *   RowsOutdated
   */
  submit(make: () => WriteCommand | Promise<WriteCommand>, idempotency?: Idempotency): Promise<WriteAnswer> {
    return this.idempotencyKeys.once(idempotency, () => this.#untilItStays(make, idempotency));
  }

  /** A table that is being dropped is waited for: the command is made anew then, which may find another table of the name, or make one. */
  async #untilItStays(make: () => WriteCommand | Promise<WriteCommand>, idempotency: Idempotency | undefined): Promise<WriteAnswer> {
    for (let attempt = 1; ; attempt += 1) {
      const command = await make();
      const ending = await this.#carry(command, idempotency);
      if (ending.kind === 'stored') return ending.answer;
      if (ending.kind === 'outdated') throw new RowsOutdated();
      if (attempt === LEAVING_ATTEMPTS_MAX)
        throw new AppError('UNAVAILABLE', `table ${command.table.name} is being dropped; nothing was stored`, { retryAfterSeconds: 1 });
      await pause(LEAVING_PAUSE_MS);
      if (this.otherNodes.mayExist) await this.sync.refresh();
    }
  }

  /** Takes a command through the loop, and does what has to be done first. */
  async #carry(command: WriteCommand, idempotency: Idempotency | undefined): Promise<Ending> {
    const { table } = command;
    const fixed = new Set<string>();
    for (let round = 0; round < ROUNDS_MAX; round += 1) {
      const held = await this.holdFiles.for(command);
      try {
        const outcome = await traced('log and apply', { 'miniodb.table': table.name, 'miniodb.command': command.kind }, () =>
          this.groupCommit.submit({ command, idempotency, fixed, held }),
        );
        if (outcome.kind === 'stored' || outcome.kind === 'leaving' || outcome.kind === 'outdated') return outcome;
        if (outcome.kind === 'declare') await this.declareColumns.run(table, outcome.columns);
        if (outcome.kind === 'widen') for (const column of await this.widening.widen(table, outcome.columns)) fixed.add(column);
      } finally {
        held?.release();
      }
    }
    throw new AppError('UNAVAILABLE', `table ${table.name}: its columns keep changing during this write; try again`);
  }
}
