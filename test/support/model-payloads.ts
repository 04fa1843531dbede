/**
 * Random payloads for one table of the model test: every column type with its hard values, fields that appear late, names in another case,
 * and integer columns that get a fraction one day. It sends only what the server must accept; refusals are made in model-refusals.ts.
 */
import { type ColumnType, type Payload, type PayloadValue, bigint, boolean, double, json, nullValue, varchar } from './payload-value.js';
import type { SeededRandom } from './seeded-random.js';

/** A field this generator knows: what to put into it, and whether fractions may come into an integer column. */
interface Field {
  readonly name: string;
  readonly type: ColumnType;
  readonly numbers: 'small' | 'extreme';
}

/** `big` holds integers beyond 2^53, so it can never be widened to DOUBLE; `n` stays BIGINT because no fraction is sent. */
const FIRST_FIELDS: readonly Field[] = [
  { name: 'n', type: 'BIGINT', numbers: 'small' },
  { name: 'big', type: 'BIGINT', numbers: 'extreme' },
  { name: 'ratio', type: 'DOUBLE', numbers: 'extreme' },
  { name: 'Ok', type: 'BOOLEAN', numbers: 'small' },
  { name: 'note', type: 'VARCHAR', numbers: 'small' },
  { name: 'extra', type: 'JSON', numbers: 'small' },
];
/** Names that break careless SQL or careless lower-casing. */
const LATE_NAMES = [
  'select',
  'Order',
  'file_row_number',
  '_pos',
  '_source',
  'file_index',
  'filename',
  'größe',
  "o'clock",
  'a.b',
  'x-y',
  '1st',
  'n_',
  '$1',
  '列',
];
const LATE_FIELDS_MAX = 20;
const COLUMN_TYPES = ['BIGINT', 'DOUBLE', 'BOOLEAN', 'VARCHAR', 'JSON'] as const;
const INTEGERS = [0n, 1n, -1n, 2n ** 53n, 2n ** 53n + 1n, -(2n ** 53n) - 1n, 2n ** 63n - 1n, -(2n ** 63n)];
const DOUBLES = [0, 0.1, -1.5, 1e21, 1e300, -1e-300, 5e-324, 1 / 3, 9_007_199_254_740_992];
const TEXTS = [
  '',
  ' ',
  'plain',
  'quote " and \\ back',
  "it's",
  'line\nbreak\ttab',
  'größe 列 🦆',
  'null',
  '10',
  'true',
  '2024-01-01T00:00:00Z',
  '{"a":1}',
  'NaN',
];
const OBJECTS = [{}, [], { a: 1 }, [1, 2, 3], { deep: { list: [{ x: null }, 'text', true] } }, ['a "quoted" one'], { ä: 'ö', n: -2.5 }];

export class ModelPayloads {
  #fields: Field[] = [...FIRST_FIELDS];
  readonly #widened = new Set<string>();

  constructor(readonly random: SeededRandom) {}

  /** Some of the known fields with values; nulls among them, and integers where a DOUBLE column takes them. */
  payload(): Payload {
    const fields = this.random.some(this.#fields, this.random.integer(1, this.#fields.length + 1));
    return new Map(fields.map((field) => [this.#spelling(field), this.#value(field)]));
  }

  /** Every field with a value: for writes after which each column must exist. */
  fullPayload(): Payload {
    return new Map(this.#fields.map((field) => [field.name, this.#typedValue(field)]));
  }

  /** A payload with a field that the table has not seen yet. */
  payloadWithNewField(): Payload {
    const number = this.#fields.length - FIRST_FIELDS.length;
    if (number >= LATE_FIELDS_MAX) return this.payload();
    const field: Field = { name: LATE_NAMES[number] ?? `late_${number}`, type: this.random.pick(COLUMN_TYPES), numbers: 'small' };
    const others = this.payload();
    this.#fields = [...this.#fields, field];
    return new Map([...others, [field.name, this.#typedValue(field)]]);
  }

  /** A fraction for an integer column that came late and holds small integers only; the column becomes DOUBLE. */
  payloadThatWidens(): Payload {
    const candidates = this.#fields.filter((field) => field.type === 'BIGINT' && !FIRST_FIELDS.includes(field));
    if (candidates.length === 0) return this.payload();
    const field = this.random.pick(candidates);
    this.#widened.add(field.name);
    this.#fields = this.#fields.map((known) => (known === field ? { ...field, type: 'DOUBLE' } : known));
    return new Map([[field.name, double(this.random.integer(-1_000, 1_000) + 0.5)]]);
  }

  /** Column names are case-insensitive: any spelling is the same field. */
  #spelling(field: Field): string {
    const isPlain = /^[A-Za-z]+$/.test(field.name);
    return isPlain && this.random.chance(0.1) ? this.random.pick([field.name.toUpperCase(), field.name.toLowerCase()]) : field.name;
  }

  #value(field: Field): PayloadValue {
    if (this.random.chance(0.1)) return nullValue;
    return this.#typedValue(field);
  }

  #typedValue(field: Field): PayloadValue {
    const { random } = this;
    switch (field.type) {
      case 'BIGINT':
        return bigint(field.numbers === 'extreme' ? random.pick(INTEGERS) : random.integer(-1_000, 1_000));
      case 'DOUBLE':
        return this.#doubleValue(field);
      case 'BOOLEAN':
        return boolean(random.chance(0.5));
      case 'VARCHAR':
        return varchar(random.chance(0.5) ? random.pick(TEXTS) : `text ${random.integer(0, 100)}`);
      case 'JSON':
        return json(random.pick(OBJECTS));
    }
  }

  #doubleValue(field: Field): PayloadValue {
    const { random } = this;
    // The first value of a DOUBLE column must look like one, or the column becomes BIGINT; these two are known to be DOUBLE already.
    const isEstablished = this.#widened.has(field.name);
    if (isEstablished && random.chance(0.2)) return bigint(random.integer(-1_000, 1_000));
    if (field.numbers === 'extreme' && random.chance(0.5)) return double(random.pick(DOUBLES));
    return double(random.integer(-1_000, 1_000) / 8);
  }
}
