/**
 * A client that changes rows of its own, one request at a time and at random, and so knows what must be there. Several run at once, on one server or
 * on several of a cluster; servers may be killed under it.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { type Change, difference, KnownRows, type Outcome, type Payload, rowTexts } from './known-rows.js';
import type { RequestTimes } from './request-times.js';
import { type Door, isSuccess, UnexpectedAnswer } from './requests.js';
import type { SeededRandom } from './seeded-random.js';
import { type Answer, call } from './server.js';

type Action = 'write' | 'replace' | 'merge' | 'delete' | 'hide' | 'restore' | 'query' | 'flush' | 'compact' | 'vacuum' | 'handOver';
export type Weights = Partial<Readonly<Record<Action, number>>>;

export interface RowsClientOptions {
  readonly table: string;
  /** The table keeps one row an id: a write replaces. */
  readonly isUpsert?: boolean;
  /** Its ids begin with this. */
  readonly name: string;
  /** Which server it asks next, once that is up. */
  readonly server: () => Promise<Door>;
  readonly random: SeededRandom;
  readonly weights: Weights;
  /** Further columns of a row. */
  readonly columns?: (random: SeededRandom) => Payload;
  /** Refusals of a write that may be; the row is then not there. */
  readonly mayRefuse?: (answer: Answer) => boolean;
  /** Refusals of a flush, a compaction or a vacuum that may be. */
  readonly mayRefuseMaintenance?: (answer: Answer, action: Action) => boolean;
  /** Makes `server` another one, which has every row by then. */
  readonly handOver?: () => Promise<void>;
  readonly times?: RequestTimes;
  /** Between two requests. */
  readonly pauseMs?: number;
}

const BATCH_ROWS_MAX = 8;
const IDS_MAX = 3;

export class RowsClient {
  readonly rows: KnownRows;
  /** Soft-deleted rows. */
  readonly #hidden = new Map<string, Payload>();
  readonly refusedMaintenance: string[] = [];
  failure: unknown;
  handOvers = 0;
  #isStopped = false;
  #counter = 0;

  constructor(private readonly options: RowsClientOptions) {
    this.rows = new KnownRows(options.table, options.name);
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** Until `stop`, and until a change that was cut off is settled. Never throws: see `failure`. */
  async run(): Promise<void> {
    try {
      while (!this.#isStopped || this.rows.isUnsettled) {
        await this.#stepOrSettle();
        if (this.options.pauseMs) await pause(this.options.pauseMs);
      }
    } catch (error) {
      this.failure = error;
    }
  }

  async #stepOrSettle(): Promise<void> {
    try {
      const server = await this.options.server();
      await (this.rows.isUnsettled ? this.rows.settle(server) : this.#step(server));
    } catch (error) {
      // A lost connection; anything else is an answer that must not be.
      if (!(error instanceof TypeError)) throw error;
    }
  }

  async #step(server: Door): Promise<void> {
    const { random, weights } = this.options;
    const action = random.weighted(weights as Record<Action, number>);
    switch (action) {
      case 'query':
        return this.#query(server);
      case 'flush':
      case 'compact':
      case 'vacuum':
        return this.#maintain(server, action);
      case 'handOver':
        await this.options.handOver?.();
        this.handOvers += 1;
        return;
      case 'restore':
        return this.#hidden.size === 0 ? this.#write(server) : this.#restore(server);
      default:
        if (action === 'write' || this.rows.ids.length < BATCH_ROWS_MAX) return this.#write(server);
        return this.#change(server, action);
    }
  }

  #change(server: Door, action: 'replace' | 'merge' | 'delete' | 'hide'): Promise<void> {
    switch (action) {
      case 'replace':
        return this.#replace(server);
      case 'merge':
        return this.#merge(server);
      case 'delete':
        return this.#delete(server);
      case 'hide':
        return this.#hide(server);
    }
  }

  async #write(server: Door): Promise<void> {
    const { random, isUpsert } = this.options;
    const ids = Array.from({ length: random.integer(1, BATCH_ROWS_MAX) }, () => `${this.options.name}-${this.#next()}`);
    if (isUpsert) ids.push(...random.some(this.rows.ids, BATCH_ROWS_MAX));
    const after = new Map(ids.map((id) => [id, this.#payload()]));
    const records = [...after].map(([id, payload]) => ({ id, payload }));
    await this.#send(server, 'write', after, 'POST', '/v1/data', { records });
  }

  async #replace(server: Door): Promise<void> {
    const id = this.options.random.pick(this.rows.ids);
    const payload = this.#payload();
    await this.#send(server, 'replace', new Map([[id, payload]]), 'PUT', '/v1/data', { id, payload });
  }

  async #merge(server: Door): Promise<void> {
    const id = this.options.random.pick(this.rows.ids);
    const fields = { n: this.#next() };
    const before = this.rows.get(id);
    const after = new Map([[id, before === 'absent' ? fields : { ...before, ...fields }]]);
    await this.#send(server, 'merge', after, 'PUT', '/v1/data', { id, payload: fields, partial: true });
  }

  async #delete(server: Door): Promise<void> {
    const ids = this.options.random.some(this.rows.ids, IDS_MAX);
    const after = new Map(ids.map((id) => [id, 'absent' as const]));
    await this.#send(server, 'delete', after, 'DELETE', '/v1/data', { ids, soft_delete: false });
  }

  async #hide(server: Door): Promise<void> {
    const ids = this.options.random.some(this.rows.ids, IDS_MAX);
    const hidden = new Map(ids.map((id) => [id, this.rows.get(id)]));
    const onDone = (): void => {
      for (const [id, payload] of hidden) if (payload !== 'absent') this.#hidden.set(id, payload);
    };
    const after = new Map(ids.map((id) => [id, 'absent' as const]));
    await this.#send(server, 'hide', after, 'DELETE', '/v1/data', { ids, soft_delete: true }, onDone);
  }

  async #restore(server: Door): Promise<void> {
    const ids = this.options.random.some([...this.#hidden.keys()], IDS_MAX);
    const after = new Map([...this.#hidden].filter(([id]) => ids.includes(id)));
    const onDone = (): void => ids.forEach((id) => void this.#hidden.delete(id));
    await this.#send(server, 'restore', after, 'POST', '/v1/data/restore', { ids }, onDone);
  }

  async #send(
    server: Door,
    what: string,
    after: Change['after'],
    method: string,
    path: string,
    body: Readonly<Record<string, unknown>>,
    onDone?: () => void,
  ): Promise<Outcome> {
    const { table, mayRefuse } = this.options;
    const ids = [...after.keys()];
    const { outcome, answer } = await this.rows.change({
      what: `${what} ${ids.join(', ')}`,
      after,
      send: () => this.#timed(what, () => call(server, method, path, { table, ...body })),
      ...(mayRefuse ? { mayRefuse } : {}),
      ...(onDone ? { onDone } : {}),
    });
    const count = answer.json?.deleted_count ?? answer.json?.restored_count;
    if (outcome === 'done' && count !== undefined && count !== ids.length)
      throw new UnexpectedAnswer(`${this.options.name}: ${what} ${ids.join(', ')} says ${count} rows`, answer);
    return outcome;
  }

  /** What it wrote is there, all of it and nothing else: on the server it asks, at once. */
  async #query(server: Door): Promise<void> {
    const where = `starts_with(id, '${this.options.name}-')`;
    const found = await this.#timed('query', () => rowTexts(server, this.options.table, where));
    const wrong = difference(this.rows.texts(), found);
    if (wrong.length > 0)
      throw new Error(`${this.options.name}: a query gave other rows than were written: ${wrong.slice(0, 5).join('; ')}`);
  }

  async #maintain(server: Door, action: 'flush' | 'compact' | 'vacuum'): Promise<void> {
    const answer = await this.#timed(action, () => call(server, 'POST', `/v1/tables/${this.options.table}/${action}`));
    if (isSuccess(answer)) return;
    if (this.options.mayRefuseMaintenance?.(answer, action) !== true) throw new UnexpectedAnswer(`${this.options.name}: ${action}`, answer);
    this.refusedMaintenance.push(`${action} ${answer.status} ${answer.json?.message}`);
  }

  #timed<T>(what: string, ask: () => Promise<T>): Promise<T> {
    return this.options.times ? this.options.times.time(what, ask) : ask();
  }

  #payload(): Payload {
    return { n: this.#next(), ...this.options.columns?.(this.options.random) };
  }

  #next(): number {
    return (this.#counter += 1);
  }
}
