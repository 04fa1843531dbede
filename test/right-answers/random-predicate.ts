/**
 * Random conditions over one table: every operator, three-valued logic, and literals that are mostly a value some row has, or
 * its neighbour, since the bounds of files are where pruning goes wrong. A literal may become a parameter of the request.
 */
import { timestampText } from './compare-answers.js';
import { type Cell, doubleText, quoted } from './expected-table.js';
import { type QuerySource, type SourceColumn } from './query-source.js';
import { allPlaceIds, eventId, placeId, timestampMicros } from './random-records.js';
import type { SeededRandom } from '../support/seeded-random.js';

export type Parameter = bigint | number | string;

const COMPARISONS = ['=', '<>', '!=', '<', '<=', '>', '>=', 'IS DISTINCT FROM', 'IS NOT DISTINCT FROM'] as const;
const ENGINE_DEFECT = /IS (NOT )?(DISTINCT|TRUE|FALSE)/;
const PARAMETER_OPEN = '\u0002';
const PARAMETER_CLOSE = '\u0003';
const PARAMETER = new RegExp(`${PARAMETER_OPEN}(\\d+)${PARAMETER_CLOSE}`, 'g');

export class RandomPredicates {
  #parameters: Parameter[] = [];
  #mayUseParameters = false;

  constructor(readonly random: SeededRandom) {}

  /** To be called before the pieces of a new query are made. */
  beginQuery(mayUseParameters: boolean): void {
    this.#parameters = [];
    this.#mayUseParameters = mayUseParameters;
  }

  /** Pieces are made before some are chosen, so the parameters of the chosen ones are numbered at the end. */
  withNumberedParameters(marked: string): { sql: string; parameters: Parameter[] } {
    const used: string[] = [];
    const sql = marked.replace(PARAMETER, (_mark, index: string) => {
      if (!used.includes(index)) used.push(index);
      return `$${used.indexOf(index) + 1}`;
    });
    return { sql, parameters: used.flatMap((index) => this.#parameters[Number(index)] ?? []) };
  }

  predicate(source: QuerySource, prefix: string, depth: number): string {
    return this.#tree(source, prefix, depth, false);
  }

  #tree(source: QuerySource, prefix: string, depth: number, isUnderOr: boolean): string {
    if (depth > 0 && this.random.chance(0.45)) {
      const operator = this.random.pick(['AND', 'OR']);
      const parts = Array.from({ length: this.random.integer(2, 4) }, () =>
        this.#tree(source, prefix, depth - 1, isUnderOr || operator === 'OR'),
      );
      return `(${parts.join(` ${operator} `)})`;
    }
    // NOT turns an AND below it into an OR.
    if (depth > 0 && this.random.chance(0.12)) return `NOT (${this.#tree(source, prefix, depth - 1, true)})`;
    return this.#guarded(this.#comparison(source, prefix, this.random.pick(source.columns)), isUnderOr);
  }

  /**
   * DuckDB 1.5.6 itself gives wrong answers to `x = 1 OR x IS DISTINCT FROM 2`, and to `IS TRUE` and `IS NOT FALSE` in such an OR: it skips
   * rows where x is NULL when the least and greatest x are 2 (in tables as well as in files). The answer then depends on how the rows lie,
   * so these operators stand in a function there, where the engine does not look at them.
   */
  #guarded(comparison: string, isUnderOr: boolean): string {
    return isUnderOr && ENGINE_DEFECT.test(comparison) ? `coalesce(${comparison}, false)` : comparison;
  }

  /** A plain comparison of one column with literals. */
  comparisonWith(source: QuerySource, name: string): string {
    const column = source.columns.find((candidate) => candidate.name === name);
    if (column === undefined) throw new Error(`${source.sql} has no column ${name}`);
    const [reference, low, high] = [quoted(name), this.#literal(source, column), this.#literal(source, column)];
    return this.random.pick([
      `${reference} ${this.random.pick(COMPARISONS)} ${low}`,
      `${reference} ${this.random.pick(['=', '<', '>'])} ${low}`,
      `${low} ${this.random.pick(['<=', '>='])} ${reference}`,
      `${reference} BETWEEN ${low} AND ${high}`,
      `${reference} >= ${low} AND ${reference} < ${high}`,
    ]);
  }

  #comparison(source: QuerySource, prefix: string, column: SourceColumn): string {
    const name = prefix + quoted(column.name);
    const literal = (): string => this.#literal(source, column);
    if (column.kind === 'JSON') return this.random.pick([`${name} IS NULL`, `${name} IS NOT NULL`, `json_type(${name}) = 'ARRAY'`]);
    if (column.kind === 'BOOLEAN') {
      return this.random.pick([
        name,
        `NOT ${name}`,
        `${name} IS TRUE`,
        `${name} IS NOT FALSE`,
        `${name} IS NULL`,
        `${name} = ${literal()}`,
        `${name} <> true`,
      ]);
    }
    const forms: (() => string)[] = [
      () => `${name} ${this.random.pick(COMPARISONS)} ${literal()}`,
      () => `${name} ${this.random.pick(COMPARISONS)} ${literal()}`,
      () => `${literal()} ${this.random.pick(COMPARISONS)} ${name}`,
      () => `${name} BETWEEN ${literal()} AND ${literal()}`,
      () => `${name} NOT BETWEEN ${literal()} AND ${literal()}`,
      () => `${name} IN (${Array.from({ length: this.random.integer(1, 6) }, literal).join(', ')})`,
      () => `${name} NOT IN (${literal()}, ${literal()}${this.random.chance(0.2) ? ', NULL' : ''})`,
      () => `${name} IN (${literal()}, NULL)`,
      () => `${name} IS NULL`,
      () => `${name} IS NOT NULL`,
      () => `${name} = NULL`,
      () => `coalesce(${name} > ${literal()}, ${this.random.pick(['true', 'false'])})`,
      ...this.#comparisonsOfKind(source, prefix, column, literal),
    ];
    return this.random.pick(forms)();
  }

  #comparisonsOfKind(source: QuerySource, prefix: string, { name, kind }: SourceColumn, literal: () => string): (() => string)[] {
    const column = prefix + quoted(name);
    if (kind === 'VARCHAR') return this.#textComparisons(column);
    if (kind === 'TIMESTAMP') {
      return [
        () => `${column} >= ${literal()} AND ${column} < ${literal()}`,
        () => `${column} >= ${literal()} AND ${column} <= ${literal()}`,
        () => `CAST(${column} AS DATE) = DATE '2024-02-${this.random.integer(27, 30)}'`,
        () => `date_trunc('day', ${column}) = ${literal()}`,
        () => `extract(hour FROM ${column}) < ${this.random.integer(0, 24)}`,
        () => `${column} + INTERVAL 1 DAY < ${literal()}`,
        () => `strftime(${column}, '%H') = '0${this.random.integer(0, 10)}'`,
      ];
    }
    const other = this.random.pick(source.columns.filter((candidate) => candidate.kind === kind));
    const arithmetic =
      name === 'big' || kind === 'DOUBLE'
        ? []
        : [
            () => `${column} + 1 > ${literal()}`,
            () => `${column} % 3 = 1`,
            () => `-${column} < ${literal()}`,
            () => `${column}::VARCHAR LIKE '1%'`,
          ];
    return [() => `${column} < ${prefix}${quoted(other.name)}`, () => `${column} = ${prefix}${quoted(other.name)}`, ...arithmetic];
  }

  #textComparisons(column: string): (() => string)[] {
    const pattern = (): string =>
      this.random.pick(['a%', '%a', '%a%', 'e-1%', '_eta%', '%', '', 'p1_', '100%', 'beta\\_%', 'A%', '%statistic%', 'name-1__', '日%']);
    return [
      () => `${column} LIKE ${this.text(pattern())}`,
      () => `${column} NOT LIKE ${this.text(pattern())}`,
      () => `${column} ILIKE ${this.text(pattern())}`,
      () => `${column} LIKE 'beta#_%' ESCAPE '#'`,
      () => `${column} SIMILAR TO '[a-m].*'`,
      () => `regexp_matches(${column}, '^[e-p].?[0-9]')`,
      () => `${column} GLOB 'a*'`,
      () => `starts_with(${column}, 'e-1')`,
      () => `contains(${column}, 'a')`,
      () => `lower(${column}) = 'alpha'`,
      () => `length(${column}) > ${this.random.integer(0, 12)}`,
      () => `${column} > ''`,
      () => `${column} || '' = ${this.text('alpha')}`,
    ];
  }

  /** Mostly a value that some row has, or its neighbour: bounds of files are where pruning goes wrong. */
  #literal(source: QuerySource, { name, kind }: SourceColumn): string {
    const value = this.random.chance(0.7) ? this.#valueOfSomeRow(source, name) : undefined;
    if (name === 'id') return this.text(typeof value === 'string' ? value : source.isEvents ? eventId(this.random) : placeId(this.random));
    switch (kind) {
      case 'BIGINT':
        return this.#integerLiteral(typeof value === 'bigint' ? value : BigInt(this.random.integer(-30, 70)), name === 'big');
      case 'DOUBLE':
        return this.#doubleLiteral(typeof value === 'number' ? value : this.random.integer(-200, 2000) / 4);
      case 'BOOLEAN':
        return this.random.pick(['true', 'false']);
      case 'TIMESTAMP':
        return this.#timestampLiteral(typeof value === 'bigint' ? value : timestampMicros(this.random));
      default:
        return this.text(typeof value === 'string' ? value : this.random.pick(['alpha', 'm', '', 'zz', ...allPlaceIds().slice(0, 20)]));
    }
  }

  #valueOfSomeRow(source: QuerySource, column: string): Cell | undefined {
    const row = this.random.pick(source.rows);
    if (column === 'id') return row.id;
    return column === 'timestamp' ? row.micros : row.payload.get(column);
  }

  someEventId(events: QuerySource): string {
    const value = this.random.chance(0.8) ? this.#valueOfSomeRow(events, 'id') : undefined;
    return typeof value === 'string' ? value : eventId(this.random);
  }

  #integerLiteral(value: bigint, isBig: boolean): string {
    const near = value + BigInt(this.random.integer(-1, 2));
    if (this.#mayUseParameters && this.random.chance(0.5) && BigInt.asIntN(64, near) === near) return this.#parameter(near);
    if (isBig) return this.random.pick([`${near}`, `${near}`, `${value}.0`, `${near}::HUGEINT`]);
    return this.random.pick([
      `${near}`,
      `${near}`,
      `${near}`,
      `${near}.5`,
      `${near}.0`,
      `'${near}'`,
      `${near}::DOUBLE`,
      `${near}::SMALLINT`,
    ]);
  }

  #doubleLiteral(value: number): string {
    if (this.#mayUseParameters && this.random.chance(0.5)) return this.#parameter(value);
    const text = doubleText(value);
    return this.random.pick([text, `${text}::DOUBLE`, text.includes('e') ? text : text.replace(/\.0$/, '')]);
  }

  #timestampLiteral(value: bigint): string {
    const micros = value + BigInt(this.random.integer(-1, 2));
    const text = timestampText(micros);
    if (this.#mayUseParameters && this.random.chance(0.5)) return `${this.#parameter(text)}::TIMESTAMPTZ`;
    const shifted = timestampText(micros + 7_200_000_000n).replace('Z', '+02:00');
    const plain = text.replace('T', ' ').replace('Z', '');
    return this.random.pick([
      `TIMESTAMPTZ '${text}'`,
      `'${text}'`,
      `'${shifted}'::TIMESTAMPTZ`,
      `TIMESTAMPTZ '${plain}'`,
      `TIMESTAMP '${plain}'`,
      `DATE '${text.slice(0, 10)}'`,
      // The time of day is lost in this cast.
      `'${plain}'::DATE`,
      `'${plain}'::DATE`,
      `CAST('${plain}'::DATE AS TIMESTAMP)`,
      `'${text.slice(0, 10)}'`,
      `to_timestamp(${micros / 1_000_000n})`,
    ]);
  }

  text(value: string): string {
    if (this.#mayUseParameters && this.random.chance(0.5)) return this.#parameter(value);
    return `'${value.replaceAll("'", "''")}'`;
  }

  #parameter(value: Parameter): string {
    this.#parameters.push(value);
    return `${PARAMETER_OPEN}${this.#parameters.length - 1}${PARAMETER_CLOSE}`;
  }
}
