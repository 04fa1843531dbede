/** The queries under way: listed, stopped by a person, stopped by their deadline or because the client went away. */
import { Inject, Injectable } from '@nestjs/common';
import { CLOCK } from '../../common/tokens.js';
import { randomUUID } from 'node:crypto';
import type { DuckDBConnection } from '@duckdb/node-api';
import type { Principal } from '../../common/access.js';
import { AppError } from '../../common/app-error.js';
import type { Clock } from '../../common/clock.js';

const SHOWN_SQL_MAX = 2_000;
const INTERRUPT_EVERY_MS = 50;

export interface RunningQueryInfo {
  readonly query_id: string;
  /** Whose it is. */
  readonly principal: string;
  readonly sql: string;
  readonly started_at: string;
  readonly elapsed_ms: number;
  readonly state: 'waiting' | 'running';
}

export class RunningQuery {
  readonly id = randomUUID();
  #connection: DuckDBConnection | undefined;
  #stoppedWith: AppError | undefined;
  #deadline: NodeJS.Timeout | undefined;
  #interrupting: NodeJS.Timeout | undefined;
  #onStop: () => void = () => undefined;
  #rejectStopped: (reason: AppError) => void = () => undefined;
  /** Fails with the reason when the query is stopped. */
  readonly stopped = new Promise<never>((_resolve, reject) => (this.#rejectStopped = reject));

  constructor(
    readonly sql: string,
    readonly reader: Principal,
    readonly startedMs: number,
    private readonly forget: (query: RunningQuery) => void,
  ) {
    // A query may be stopped while nobody waits.
    this.stopped.catch(() => undefined);
  }

  get isRunning(): boolean {
    return this.#connection !== undefined;
  }

  /** Why the query was stopped, if it was. */
  get stoppedWith(): AppError | undefined {
    return this.#stoppedWith;
  }

  /** @throws the reason when the query was stopped */
  assertGoesOn(): void {
    if (this.#stoppedWith) throw this.#stoppedWith;
  }

  /** From here on a stop interrupts the engine on this connection. @throws the reason when it was stopped already */
  attach(connection: DuckDBConnection): void {
    this.assertGoesOn();
    this.#connection = connection;
  }

  /**
   * Waits for something that the engine's interrupt does not reach, such as a file that is fetched.
   * @param giveBack takes what comes of it after a stop, when nobody waits for it any more
   * @throws the reason when the query is stopped first
   */
  async orStopped<T>(work: Promise<T>, giveBack: (late: T) => void = () => undefined): Promise<T> {
    try {
      return await Promise.race([work, this.stopped]);
    } catch (error) {
      void work.then(giveBack, () => undefined);
      throw error;
    }
  }

  /** What else a stop must do, such as closing the pipe that the engine writes into. */
  onStop(stop: () => void): void {
    this.#onStop = stop;
    if (this.#stoppedWith) stop();
  }

  /** @param timeoutMs what it was given in all, waiting included */
  stopAfter(ms: number, timeoutMs: number): void {
    const reason = `the query did not finish within ${timeoutMs} ms; make it smaller, or send a larger timeout_ms`;
    this.#deadline = setTimeout(() => this.stop(new AppError('DEADLINE_EXCEEDED', reason)), ms);
  }

  stop(reason: AppError): void {
    if (this.#stoppedWith) return;
    this.#stoppedWith = reason;
    this.#rejectStopped(reason);
    this.#connection?.interrupt();
    // An interrupt between two statements of the query is lost: it is repeated until the query has ended.
    this.#interrupting = setInterval(() => this.#connection?.interrupt(), INTERRUPT_EVERY_MS);
    this.#onStop();
  }

  finish(): void {
    clearTimeout(this.#deadline);
    clearInterval(this.#interrupting);
    this.#connection = undefined;
    this.forget(this);
  }
}

@Injectable()
export class RunningQueries {
  readonly #byId = new Map<string, RunningQuery>();

  constructor(@Inject(CLOCK) private readonly clock: Clock) {}

  start(sql: string, reader: Principal): RunningQuery {
    const query = new RunningQuery(sql, reader, this.clock.nowMs(), ({ id }) => this.#byId.delete(id));
    this.#byId.set(query.id, query);
    return query;
  }

  get count(): number {
    return this.#byId.size;
  }

  /** The one that has run longest and is not stopped yet. */
  get oldest(): RunningQuery | undefined {
    for (const query of this.#byId.values()) if (query.isRunning && !query.stoppedWith) return query;
    return undefined;
  }

  /** Those that somebody may know of: their own, or all of them for an administrator. */
  list(asking: Principal): RunningQueryInfo[] {
    const known = [...this.#byId.values()].filter((query) => isKnownTo(query, asking));
    return known.map((query) => ({
      query_id: query.id,
      principal: query.reader.id,
      sql: query.sql.slice(0, SHOWN_SQL_MAX),
      started_at: new Date(query.startedMs).toISOString(),
      elapsed_ms: this.clock.nowMs() - query.startedMs,
      state: query.isRunning ? 'running' : 'waiting',
    }));
  }

  /** @throws AppError NOT_FOUND when no such query is under way */
  kill(id: string, asking: Principal): void {
    const query = this.#byId.get(id);
    if (!query || !isKnownTo(query, asking)) throw new AppError('NOT_FOUND', `no query ${id} is running`);
    query.stop(new AppError('CANCELLED', `the query was cancelled by DELETE /v1/queries/${id}`));
  }

  stopAll(reason: AppError): void {
    for (const query of this.#byId.values()) query.stop(reason);
  }
}

function isKnownTo({ reader }: RunningQuery, { id, role }: Principal): boolean {
  return role === 'admin' || reader.id === id;
}
