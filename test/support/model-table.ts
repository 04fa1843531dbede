/**
 * One table of the model test: its reference state, its ids, its records, and the questions whose answers the model knows.
 */
import { ModelPayloads } from './model-payloads.js';
import { type ClientRecord, type Payload, timestampText } from './payload-value.js';
import {
  type ReferenceRow,
  type ReferenceSnapshot,
  ReferenceTable,
  type WriteMode,
  canonicalRow,
  canonicalText,
  storedPayload,
  visibleRows,
} from './reference-table.js';
import type { SeededRandom } from './seeded-random.js';

const FIRST_INSTANT_MICROS = BigInt(Date.UTC(2023, 11, 30)) * 1_000n;
const SPAN_SECONDS = 6 * 86_400;
const SECOND_MICROS = 1_000_000n;
/** Few instants that many rows share (the order of writing decides between them), and edges: before 1970, the end of a day. */
const SHARED_INSTANTS_MICROS = [0n, -1n, 1n, FIRST_INSTANT_MICROS, BigInt(Date.UTC(2024, 0, 1)) * 1_000n - 1n];

/** A predicate in SQL and in JavaScript. */
export interface Question {
  readonly sql: string;
  holds(row: ReferenceRow): boolean;
}

/** A whole query with the rows it must give, canonical. */
export interface PagedQuery {
  readonly sql: string;
  rows(snapshot: ReferenceSnapshot): string[];
}

/** What was visible when a version was the newest one. */
export interface RememberedVersion {
  readonly version: number;
  readonly instant: string;
  readonly snapshot: ReferenceSnapshot;
}

export class ModelTable {
  readonly reference: ReferenceTable;
  readonly payloads: ModelPayloads;
  readonly ids: readonly string[];
  readonly versions: RememberedVersion[] = [];
  #writes = 0;

  constructor(
    readonly name: string,
    readonly mode: WriteMode,
    readonly layout: 'shard' | 'id',
    idCount: number,
    readonly random: SeededRandom,
  ) {
    this.reference = new ReferenceTable(name, mode);
    this.payloads = new ModelPayloads(random);
    this.ids = Array.from({ length: idCount }, (_, id) => `${id % 3 === 0 ? 'Entity-' : 'e_'}${id}`);
  }

  /** A row for the model and, the same, a record for the request. */
  newRow(payload: Payload = this.payloads.payload(), id = this.random.pick(this.ids)): { row: ReferenceRow; record: ClientRecord } {
    this.#writes += 1;
    const timestampMicros = this.#instant();
    return {
      row: { id, timestampMicros, payload: storedPayload(payload), order: this.#writes },
      record: { id, timestampMicros, payload, ...this.#spelling(timestampMicros) },
    };
  }

  /** Orders of writing for rows that come back; gives the first of `count`. */
  nextOrders(count: number): number {
    this.#writes += count;
    return this.#writes - count + 1;
  }

  someIds(): string[] {
    return this.random.some(this.ids, this.random.integer(1, 4));
  }

  question(): Question {
    const { random } = this;
    switch (random.integer(0, 5)) {
      case 0: {
        const ids = this.someIds();
        return { sql: `id IN (${ids.map((id) => `'${id}'`).join(', ')})`, holds: (row) => ids.includes(row.id) };
      }
      case 1: {
        const from = this.#instant();
        const to = from + BigInt(random.integer(1, SPAN_SECONDS)) * SECOND_MICROS;
        return {
          sql: `timestamp >= TIMESTAMPTZ '${timestampText(from)}' AND timestamp < TIMESTAMPTZ '${timestampText(to)}'`,
          holds: (row) => row.timestampMicros >= from && row.timestampMicros < to,
        };
      }
      case 2: {
        const limit = random.integer(-1_000, 1_000);
        return { sql: `n > ${limit}`, holds: (row) => this.#integerOf(row, 'n', (n) => n > BigInt(limit)) };
      }
      case 3:
        return { sql: 'big = 9007199254740993', holds: (row) => this.#integerOf(row, 'big', (big) => big === 9_007_199_254_740_993n) };
      default:
        return {
          sql: "note IS NULL OR note = 'plain'",
          holds: (row) => [undefined, '"plain"'].includes(row.payload.get('note')?.jsonText),
        };
    }
  }

  pagedQuery(): PagedQuery {
    const { random, name } = this;
    switch (random.integer(0, 4)) {
      case 0:
        return { sql: `SELECT * FROM ${name}`, rows: allRows };
      case 1:
        return { sql: `SELECT * FROM ${name} ORDER BY timestamp DESC, id`, rows: allRows };
      case 2:
        return { sql: `SELECT id, max(timestamp) AS timestamp FROM ${name} GROUP BY id`, rows: newestInstants };
      default: {
        const question = this.question();
        return { sql: `SELECT * FROM ${name} WHERE ${question.sql}`, rows: (snapshot) => canonicalRows(snapshot, question) };
      }
    }
  }

  #integerOf(row: ReferenceRow, column: string, test: (value: bigint) => boolean): boolean {
    const value = row.payload.get(column);
    return value !== undefined && test(BigInt(value.jsonText));
  }

  #instant(): bigint {
    const { random } = this;
    if (random.chance(0.15)) return random.pick(SHARED_INSTANTS_MICROS);
    const micros = FIRST_INSTANT_MICROS + BigInt(random.integer(0, SPAN_SECONDS)) * SECOND_MICROS;
    return micros + BigInt(random.integer(0, 1_000_000));
  }

  /** The same instant as another client would write it. */
  #spelling(micros: bigint): { timestampJson?: string } {
    const { random } = this;
    if (random.chance(0.7)) return {};
    if (micros % 1_000n === 0n && micros > 0n) return { timestampJson: String(micros / 1_000n) };
    const local = timestampText(micros + 2n * 3_600n * SECOND_MICROS).slice(0, -1);
    return { timestampJson: `"${local}+02:00"` };
  }
}

export function canonicalRows(snapshot: ReferenceSnapshot, question?: Question): string[] {
  return visibleRows(snapshot.entities)
    .filter((row) => question === undefined || question.holds(row))
    .map((row) => canonicalRow(row, snapshot.columns));
}

function allRows(snapshot: ReferenceSnapshot): string[] {
  return canonicalRows(snapshot);
}

function newestInstants(snapshot: ReferenceSnapshot): string[] {
  return [...snapshot.entities].flatMap(([id, { live }]) => {
    const newest = live.reduce<bigint | undefined>(
      (max, row) => (max === undefined || row.timestampMicros > max ? row.timestampMicros : max),
      undefined,
    );
    return newest === undefined ? [] : [canonicalText(id, timestampText(newest), [])];
  });
}
