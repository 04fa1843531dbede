/**
 * The two tables of the random test and their values. Every column is a trap of its own: integers beyond 2^53, doubles that
 * add up exactly (`price`, quarters) and such that do not (`ratio`), doubles at the ends of their range, texts longer than a
 * file statistic keeps, columns that the first data files do not have, NULL in all of them.
 */
import type { Cell, ColumnKind, RecordToWrite } from './expected-table.js';
import type { SeededRandom } from '../support/seeded-random.js';

export const EVENT_COLUMNS = {
  seq: 'BIGINT',
  n: 'BIGINT',
  big: 'BIGINT',
  price: 'DOUBLE',
  ratio: 'DOUBLE',
  extreme: 'DOUBLE',
  name: 'VARCHAR',
  flag: 'BOOLEAN',
  doc: 'JSON',
  place: 'VARCHAR',
  late: 'BIGINT',
  late_text: 'VARCHAR',
  late_flag: 'BOOLEAN',
} as const satisfies Record<string, ColumnKind>;

/** The table `order`, in upsert mode: a keyword as its name, and another one as a column. */
export const PLACE_COLUMNS = {
  group: 'VARCHAR',
  score: 'BIGINT',
  weight: 'DOUBLE',
  tags: 'JSON',
  grade: 'VARCHAR',
} as const satisfies Record<string, ColumnKind>;

const PLACE_COUNT = 90;
const EVENT_ID_COUNT = 2_000;
const FIRST_DAY_MICROS = BigInt(Date.UTC(2024, 1, 27)) * 1000n;
const MICROS_OF_DAY = 86_400_000_000n;
const BIG_VALUES: readonly bigint[] = [
  9_007_199_254_740_991n,
  9_007_199_254_740_992n,
  9_007_199_254_740_993n,
  -9_007_199_254_740_993n,
  9_223_372_036_854_775_807n,
  -9_223_372_036_854_775_808n,
  9_223_372_036_854_775_806n,
  1_000_000_000_000_000_001n,
  0n,
];
const EXTREME_VALUES: readonly number[] = [
  0, -0, 5e-324, 1.7976931348623157e308, -1.7976931348623157e308, 1e-300, 0.1, 9007199254740993.5, 1e16,
];
const LONG_PREFIX = 'a text longer than what a file statistic keeps, ';
const NAMES: readonly string[] = [
  // As long as a statistic keeps, then the greatest characters there are: above the bound that stands for the rest.
  `${LONG_PREFIX.slice(0, 32)}\u{10ffff}\u{10ffff}z`,
  '',
  ' ',
  'alpha',
  'Alpha',
  'beta',
  'beta_1',
  '100%',
  "O'Brien",
  '"quoted"',
  'NULL',
  '12',
  '-7',
  '3.5',
  'true',
  'zażółć',
  '日本語',
  '🙂 smile',
  'e\u0301',
  '\u{10ffff}',
  'tab\tand\nline',
  'back\\slash',
  "'; DROP TABLE events; --",
];

const SORTED_NAMES = [...NAMES].sort((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)));
/** About a day of the ten, and as much of every other range. */
const CLUSTER_WIDTH = 0.08;

export function placeId(random: SeededRandom): string {
  return `p${random.integer(0, PLACE_COUNT)}`;
}

export function allPlaceIds(): string[] {
  return Array.from({ length: PLACE_COUNT }, (_unused, index) => `p${index}`);
}

export function eventId(random: SeededRandom): string {
  return eventIdAt(random.fraction());
}

function eventIdAt(spot: number): string {
  return `e-${Math.floor(spot * EVENT_ID_COUNT)}`;
}

/** Mostly within ten days around a leap day, a few before 1970; often whole hours or seconds, so that ties happen. */
export function timestampMicros(random: SeededRandom): bigint {
  if (random.chance(0.02)) return -BigInt(random.integer(1, 3_000_000_000));
  return timestampMicrosAt(random, random.fraction());
}

function timestampMicrosAt(random: SeededRandom, spot: number): bigint {
  const micros = FIRST_DAY_MICROS + BigInt(Math.floor(spot * Number(MICROS_OF_DAY) * 10));
  if (random.chance(0.3)) return micros - (micros % 3_600_000_000n);
  return random.chance(0.2) ? micros - (micros % 1_000_000n) : micros;
}

/** Makes the payloads of `events`; `seq` is different in every one, which gives queries a total order. */
export class EventPayloads {
  #seq = 0;
  #lateColumns: readonly string[] = [];
  /** Start of the part of each column's range that the values come from; undefined for the whole range. */
  #home: number | undefined;

  constructor(readonly random: SeededRandom) {}

  /**
   * The next records go to another file. Those of a clustered one lie close together in every column, which is what lets a
   * query leave a file out; those of the others lie everywhere.
   */
  beginFile(isClustered: boolean): void {
    this.#home = isClustered ? this.random.fraction() * (1 - CLUSTER_WIDTH) : undefined;
  }

  eventId(): string {
    return eventIdAt(this.#spot());
  }

  /** From now on records also carry this column, which the files written before do not have. */
  addLateColumn(column: string): void {
    this.#lateColumns = [...this.#lateColumns, column];
  }

  record(id = this.eventId()): RecordToWrite {
    return { id, micros: this.#micros(), payload: this.payload() };
  }

  payload(): Map<string, Cell> {
    const columns = Object.keys(EVENT_COLUMNS).filter((column) => this.#mayHave(column));
    return this.#cells(columns.filter((column) => column !== 'seq' && !this.random.chance(0.15)));
  }

  /** Every column, none NULL: the first record fixes the column's types. */
  completeRecord(): RecordToWrite {
    const columns = Object.keys(EVENT_COLUMNS).filter((column) => this.#mayHave(column) && column !== 'seq');
    return { id: this.eventId(), micros: this.#micros(), payload: this.#cells(columns) };
  }

  /** A few fields and always a new `seq`, for a partial update. */
  partialPayload(): Map<string, Cell> {
    return this.#cells(this.random.pickSome(['n', 'big', 'price', 'name', 'flag', 'doc', 'place'], 1, 3));
  }

  #mayHave(column: string): boolean {
    return !column.startsWith('late') || this.#lateColumns.includes(column);
  }

  #cells(columns: readonly string[]): Map<string, Cell> {
    const cells = new Map<string, Cell>([['seq', BigInt(this.#seq++)]]);
    for (const column of columns) cells.set(column, eventCell(this.random, this.#spot(), column));
    return cells;
  }

  #micros(): bigint {
    return this.#home === undefined ? timestampMicros(this.random) : timestampMicrosAt(this.random, this.#spot());
  }

  #spot(): number {
    return this.#home === undefined ? this.random.fraction() : this.#home + this.random.fraction() * CLUSTER_WIDTH;
  }
}

/** @param spot where in the column's range the value shall lie, in [0, 1) */
function eventCell(random: SeededRandom, spot: number, column: string): Cell {
  switch (column) {
    case 'n':
      return BigInt(Math.floor(spot * 80) - 20);
    case 'big':
      return random.chance(0.7) ? random.pick(BIG_VALUES) : 9_007_199_254_740_000n + BigInt(random.integer(0, 5000));
    case 'price':
      return Math.floor(spot * 4400 - 400) / 4;
    case 'ratio':
      return random.chance(0.2) ? random.integer(1, 50) : random.fraction() * 1000;
    case 'extreme':
      return random.chance(0.6) ? random.pick(EXTREME_VALUES) : (random.fraction() - 0.5) * 1e12;
    case 'name':
      return nameCell(random, spot);
    case 'flag':
    case 'late_flag':
      return random.chance(0.5);
    case 'doc':
      return documentText(random);
    case 'place':
      return random.chance(0.95) ? placeId(random) : 'nowhere';
    case 'late':
      return BigInt(Math.floor(spot * 40));
    case 'late_text':
      return random.pick(['x', 'y', 'z', 'zz', '']);
    default:
      throw new Error(`no values for column ${column}`);
  }
}

function nameCell(random: SeededRandom, spot: number): string {
  if (random.chance(0.5)) return SORTED_NAMES[Math.floor(spot * SORTED_NAMES.length)] ?? '';
  return random.chance(0.3) ? LONG_PREFIX + Math.floor(spot * 30).toString() : `name-${Math.floor(spot * 200)}`;
}

function documentText(random: SeededRandom): string {
  if (random.chance(0.2)) return JSON.stringify(Array.from({ length: random.integer(0, 4) }, () => random.integer(0, 9)));
  const parts = [`"a":${random.integer(0, 20)}`];
  if (random.chance(0.5)) parts.push(`"b":${JSON.stringify(random.pick(NAMES))}`);
  if (random.chance(0.3)) parts.push(`"c":{"d":${random.pick(['null', 'true', '[1,2]', '9007199254740993'])}}`);
  return `{${parts.join(',')}}`;
}

/** A row of the table `order`. `withGrade` adds the column that its first files do not have. */
export function placeRecord(random: SeededRandom, id: string, withGrade: boolean, isComplete: boolean): RecordToWrite {
  const payload = new Map<string, Cell>();
  const add = (column: string, cell: Cell): void => {
    if (isComplete || random.chance(0.9)) payload.set(column, cell);
  };
  add('group', random.pick(['north', 'south', 'east', 'west', "O'Hare"]));
  add('score', BigInt(random.integer(-5, 30)));
  add('weight', random.integer(0, 80) / 4);
  add('tags', JSON.stringify(random.pickSome(['red', 'green', 'blue'], 0, 3)));
  if (withGrade) add('grade', random.pick(['A', 'B', 'C']));
  return { id, micros: timestampMicros(random), payload };
}
