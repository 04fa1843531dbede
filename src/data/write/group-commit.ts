/**
 * The one writer loop of the server. It takes what waits as a group, gives it LSNs, logs it with one fsync, and applies it while the next group is
 * already being logged. What must see or change buffers undisturbed (a freeze, the publishing of a commit) runs as an exclusive task in the same
 * loop, so no row can slip in between.
 */
import { Injectable } from '@nestjs/common';
import { AppError } from '../../common/app-error.js';
import { Config } from '../../config/config.js';
import type { Table } from '../../tables/table.js';
import { BufferManager } from '../buffer/buffer-manager.js';
import { WriteAheadLog } from '../wal/write-ahead-log.js';
import { Acknowledge, type Logged } from './acknowledge.js';
import { toWalRecord } from './applicable.js';
import { roughBytes } from './command-size.js';
import { LsnCounter } from './lsn-counter.js';
import { PrepareWrite } from './prepare.js';
import type { Outcome, Submission, Waiting } from './waiting.js';
import { WriterFailure } from './writer-failure.js';

interface Exclusive {
  readonly task: () => Promise<void>;
}

@Injectable()
export class GroupCommit {
  readonly #queue: (Waiting | Exclusive)[] = [];
  #queuedBytes = 0;
  #isRunning = false;
  #applying: Promise<void> = Promise.resolve();
  #isStopped = false;

  constructor(
    private readonly config: Config,
    private readonly wal: WriteAheadLog,
    private readonly buffers: BufferManager,
    private readonly lsns: LsnCounter,
    private readonly prepare: PrepareWrite,
    private readonly acknowledge: Acknowledge,
    private readonly failure: WriterFailure,
  ) {}

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /**
   * @returns how the command left the loop; a stored one is durable and visible
   * @throws AppError INVALID_ARGUMENT for rows that do not fit, RESOURCE_EXHAUSTED when too much waits, UNAVAILABLE when it could not be stored
   */
  submit(submission: Submission): Promise<Outcome> {
    const bytes = roughBytes(submission.command);
    this.assertOpen(bytes);
    return new Promise((resolve, reject) => {
      this.#queuedBytes += bytes;
      this.#queue.push({ ...submission, bytes, arrivedMs: performance.now(), resolve, reject });
      this.#kick();
    });
  }

  /** @throws AppError when a write of this size would be refused now */
  assertOpen(bytes: number): void {
    if (this.failure.error) throw this.failure.error;
    if (this.#isStopped) throw new AppError('UNAVAILABLE', 'the server is stopping', { retryAfterSeconds: 5 });
    this.buffers.admit(bytes, this.#queuedBytes);
  }

  /** Runs a task while nothing is being logged or applied. Short: all writes wait for it. */
  exclusive<T>(task: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ task: () => task().then(resolve, reject) });
      this.#kick();
    });
  }

  #kick(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    // One turn of the event loop first: requests of the same moment share a group.
    setImmediate(() => void this.#loop());
  }

  async #loop(): Promise<void> {
    while (this.#queue.length > 0) {
      const next = this.#queue[0];
      if (next && 'task' in next) {
        this.#queue.shift();
        await this.#applying;
        await next.task();
      } else {
        await this.#writeGroup(await this.#withoutLeaving(this.#takeGroup()));
      }
    }
    // In the tick of the last look at the queue, so that the next entry starts the loop again.
    this.#isRunning = false;
  }

  /** Waiting commands up to the size of a group. A command that must read first is a group of its own. */
  #takeGroup(): Waiting[] {
    const group: Waiting[] = [];
    let bytes = 0;
    while (this.#queue.length > 0) {
      const next = this.#queue[0];
      if (!next || 'task' in next) break;
      if (group.length > 0 && (readsFirst(next) || bytes + next.bytes > this.config.wal.group_bytes_max)) break;
      this.#queue.shift();
      this.#queuedBytes -= next.bytes;
      bytes += next.bytes;
      group.push(next);
      if (readsFirst(next)) break;
    }
    return group;
  }

  /** The commands of a group but those for tables that other nodes drop. */
  async #withoutLeaving(group: readonly Waiting[]): Promise<readonly Waiting[]> {
    let leaving: ReadonlySet<Table>;
    try {
      leaving = await this.prepare.leavingOf(new Set(group.map(({ command }) => command.table)));
    } catch (error) {
      for (const { reject } of group) reject(error);
      return [];
    }
    if (leaving.size === 0) return group;
    for (const { command, resolve } of group) if (leaving.has(command.table)) resolve({ kind: 'leaving' });
    return group.filter(({ command }) => !leaving.has(command.table));
  }

  async #writeGroup(group: readonly Waiting[]): Promise<void> {
    const schemasBefore = new Map(group.map(({ command }) => [command.table, command.table.schema]));
    const lsnBefore = this.lsns.last;
    const prepared = await this.#prepareGroup(group);
    if (prepared.length === 0) return;
    try {
      if (this.failure.error) throw this.failure.error;
      await this.wal.append(prepared.map(({ write }) => toWalRecord(write)));
    } catch (error) {
      for (const [table, schema] of schemasBefore) table.schema = schema;
      this.lsns.rewind(lsnBefore);
      for (const { waiting } of prepared) waiting.reject(error);
      return;
    }
    for (const { write } of prepared) if (write.kind === 'bulk') this.wal.bulkFiles.add(write.fileName);
    await this.#applying;
    if (this.failure.error) for (const { waiting } of prepared) waiting.reject(this.failure.error);
    else this.#applying = this.acknowledge.run(prepared);
  }

  async #prepareGroup(group: readonly Waiting[]): Promise<Logged[]> {
    const prepared: Logged[] = [];
    for (const waiting of group) {
      try {
        const result = await this.prepare.run(waiting, this.#applying);
        if ('kind' in result) waiting.resolve(result);
        else prepared.push({ ...result, waiting });
      } catch (error) {
        waiting.reject(error);
      }
    }
    return prepared;
  }

  /** Takes no more writes, and waits for those that are under way. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    await this.exclusive(() => Promise.resolve());
  }
}

function readsFirst({ command }: Waiting): boolean {
  return command.kind === 'merge' || command.kind === 'restore';
}
