/**
 * Random SELECTs over the two tables of the test. Each has one right answer: LIMIT only with a total order, no sum of
 * arbitrary doubles where a later step could depend on its last bit, no expression that fails on some rows only (engines
 * may evaluate it before or after a filter). A few queries are wrong on purpose: they must be refused, not answered.
 */
import { type ExpectedTable, quoted } from './expected-table.js';
import { type QuerySource, sourceOfEvents, sourceOfPlaces } from './query-source.js';
import { aggregates, groupKeys, scalars } from './random-expression.js';
import { type Parameter, RandomPredicates } from './random-predicate.js';
import type { SeededRandom } from '../support/seeded-random.js';

export interface GeneratedQuery {
  readonly shape: string;
  readonly sql: string;
  readonly parameters: readonly Parameter[];
  readonly isOrdered: boolean;
  readonly isApproximate: boolean;
}

interface Body {
  readonly sql: string;
  readonly isOrdered?: boolean;
  readonly isApproximate?: boolean;
}

const PREDICATE_DEPTH_MAX = 3;

export class RandomQueries {
  readonly #events: QuerySource;
  readonly #places: QuerySource;
  readonly #predicates: RandomPredicates;

  constructor(
    readonly random: SeededRandom,
    events: ExpectedTable,
    places: ExpectedTable,
  ) {
    this.#events = sourceOfEvents(events);
    this.#places = sourceOfPlaces(places);
    this.#predicates = new RandomPredicates(random);
  }

  next(): GeneratedQuery {
    this.#predicates.beginQuery(this.random.chance(0.15));
    const [shape, make] = this.#pickShape();
    const body = make.call(this);
    return {
      shape,
      ...this.#predicates.withNumberedParameters(body.sql),
      isOrdered: body.isOrdered ?? false,
      isApproximate: body.isApproximate ?? false,
    };
  }

  #pickShape(): readonly [string, (this: RandomQueries) => Body] {
    const shapes = this.#shapes();
    let ticket = this.random.fraction() * shapes.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [name, weight, make] of shapes) {
      ticket -= weight;
      if (ticket < 0) return [name, make];
    }
    return ['filter', this.#filtered];
  }

  #shapes(): readonly (readonly [string, number, (this: RandomQueries) => Body])[] {
    return [
      ['filter', 10, this.#filtered],
      ['plain comparison', 8, this.#plainlyCompared],
      ['point', 6, this.#byId],
      ['star', 2, this.#star],
      ['aggregate', 10, this.#aggregate],
      ['group', 12, this.#grouped],
      ['float sums', 3, this.#floatSums],
      ['distinct', 4, this.#distinct],
      ['join', 8, this.#joined],
      ['self join', 4, this.#selfJoined],
      ['cte', 6, this.#commonTable],
      ['subquery', 8, this.#subquery],
      ['window', 8, this.#window],
      ['one name, two things', 8, this.#ambiguousNames],
      ['set operation', 6, this.#setOperation],
      ['case and cast', 6, this.#caseAndCast],
      ['grouping sets', 3, this.#groupingSets],
      ['json', 3, this.#json],
      ['list', 3, this.#lists],
      ['pivot', 2, this.#pivot],
      ['modifier', 2, this.#starModifiers],
      ['wrong', 3, this.#wrong],
    ];
  }

  // ---- shapes -------------------------------------------------------------------------------------------------------

  #filtered(): Body {
    const source = this.#source();
    const expressions = this.random.pickSome(scalars(source, ''), 1, 5);
    const select = `SELECT ${aliased(expressions)} FROM ${source.sql}${this.#where(source, '')}`;
    return this.#maybeLimited(select, source.uniqueColumn);
  }

  /** What lets a query leave files out: comparisons of a column with literals, all of which must hold. */
  #plainlyCompared(): Body {
    const columns = ['id', 'timestamp', 'timestamp', 'n', 'seq', 'price', 'name', 'big', 'extreme', 'late', 'place'];
    const conditions = this.random.pickSome(columns, 1, 2).map((name) => this.#predicates.comparisonWith(this.#events, name));
    const select = this.random.pick(['count(*) AS c, sum(n) AS s', 'seq', 'id, "timestamp", n', 'max("timestamp") AS m']);
    return { sql: `SELECT ${select} FROM events WHERE ${conditions.join(' AND ')}` };
  }

  #byId(): Body {
    const ids = Array.from({ length: this.random.integer(1, 6) }, () => this.#predicates.someEventId(this.#events));
    const condition = this.random.pick([
      () => `id = ${this.#predicates.text(ids[0] ?? '')}`,
      () => `${this.#predicates.text(ids[0] ?? '')} = id`,
      () => `id IN (${ids.map((id) => this.#predicates.text(id)).join(', ')})`,
      () => `(${ids.map((id) => `id = ${this.#predicates.text(id)}`).join(' OR ')})`,
      () => `id = ${this.#predicates.text(ids[0] ?? '')} AND ${this.#predicates.predicate(this.#events, '', 1)}`,
      () => `id BETWEEN ${this.#predicates.text('e-1')} AND ${this.#predicates.text('e-12')}`,
      () => `id >= ${this.#predicates.text(ids[0] ?? '')} AND id < ${this.#predicates.text('e-9')}`,
    ])();
    const columns = this.random.pickSome(
      this.#events.columns.map(({ name }) => quoted(name)),
      1,
      4,
    );
    return { sql: `SELECT ${columns.join(', ')} FROM events WHERE ${condition}` };
  }

  #star(): Body {
    const source = this.#source();
    const from = this.random.chance(0.5) ? `SELECT * FROM ${source.sql}` : `FROM ${source.sql}`;
    return {
      sql: `${from} WHERE ${this.#predicates.predicate(source, '', 1)} ORDER BY ${source.uniqueColumn} LIMIT 60`,
      isOrdered: true,
    };
  }

  #aggregate(): Body {
    const source = this.#source();
    const aggregates = this.random.pickSome(this.#aggregates(source, ''), 1, 5);
    return { sql: `SELECT ${aliased(aggregates)} FROM ${source.sql}${this.#where(source, '')}` };
  }

  #grouped(): Body {
    const source = this.#source();
    const keys = this.random.pickSome(groupKeys(source, ''), 1, 2);
    const aggregates = this.random.pickSome(this.#aggregates(source, ''), 1, 3);
    const having = this.random.chance(0.4) ? ` HAVING ${this.#having(source)}` : '';
    const sql = `SELECT ${aliased([...keys, ...aggregates])} FROM ${source.sql}${this.#where(source, '')} GROUP BY ${keys.join(', ')}${having}`;
    if (this.random.chance(0.5)) return { sql };
    // All the keys together are a total order of the groups.
    const order = keys.map((_key, index) => `c${index} ${this.#direction()}`).join(', ');
    return { sql: `${sql} ORDER BY ${order}${this.#limit()}`, isOrdered: true };
  }

  #floatSums(): Body {
    const aggregates = this.random.pickSome(
      [
        'sum(ratio)',
        'avg(ratio)',
        'stddev_samp(ratio)',
        'var_pop(price)',
        'sum(ratio * price)',
        'sum(ratio) FILTER (WHERE flag)',
        'avg(ratio + n)',
      ],
      1,
      3,
    );
    const key = this.random.pick(['place', 'n', 'flag', `date_trunc('day', "timestamp")`]);
    const sql = `SELECT ${aliased([key, ...aggregates])} FROM events${this.#where(this.#events, '')} GROUP BY ${key}`;
    return { sql, isApproximate: true };
  }

  #distinct(): Body {
    const source = this.#source();
    if (this.random.chance(0.3)) {
      const key = this.random.pick(groupKeys(source, ''));
      return {
        sql: `SELECT DISTINCT ON (${key}) ${aliased([key, ...source.columns.slice(0, 4).map(({ name }) => quoted(name))])} FROM ${source.sql} ORDER BY ${key}, ${source.uniqueColumn} ${this.#direction()}`,
        isOrdered: true,
      };
    }
    const keys = this.random.pickSome(groupKeys(source, ''), 1, 2);
    const sql = `SELECT DISTINCT ${aliased(keys)} FROM ${source.sql}${this.#where(source, '')}`;
    if (this.random.chance(0.5)) return { sql };
    return { sql: `${sql} ORDER BY ALL${this.#limit()}`, isOrdered: true };
  }

  #joined(): Body {
    const kind = this.random.pick([
      'JOIN',
      'INNER JOIN',
      'LEFT JOIN',
      'RIGHT JOIN',
      'FULL JOIN',
      'SEMI JOIN',
      'ANTI JOIN',
      'ASOF JOIN',
      'ASOF LEFT JOIN',
    ]);
    const extra = this.random.chance(0.3) && !kind.startsWith('ASOF') ? ` AND ${this.#predicates.predicate(this.#events, 'e.', 1)}` : '';
    const time = kind.startsWith('ASOF') ? ' AND e."timestamp" >= o."timestamp"' : '';
    const from = `FROM events e ${kind} "order" o ON e.place = o.id${extra}${time}`;
    const seesRight = !['SEMI JOIN', 'ANTI JOIN'].includes(kind);
    const where = this.random.chance(0.6) ? ` WHERE ${this.#joinPredicate(seesRight)}` : '';
    const expressions = [
      ...this.random.pickSome(scalars(this.#events, 'e.'), 1, 3),
      ...(seesRight ? this.random.pickSome(scalars(this.#places, 'o.'), 1, 2) : []),
    ];
    if (this.random.chance(0.4)) return this.#joinAggregate(from + where, seesRight);
    const select = `SELECT ${aliased(['e.seq', ...expressions, ...(seesRight ? ['o.id'] : [])])} ${from}${where}`;
    return { sql: `${select} ORDER BY e.seq, ${seesRight ? 'o.id' : '1'}${this.#limit()}`, isOrdered: true };
  }

  #joinPredicate(seesRight: boolean): string {
    const left = this.#predicates.predicate(this.#events, 'e.', 1);
    if (!seesRight) return left;
    const right = this.#predicates.predicate(this.#places, 'o.', 1);
    return this.random.pick([
      left,
      right,
      `${left} AND ${right}`,
      `(${left} OR ${right})`,
      'e.n > o.score',
      'o.id IS NULL',
      'e.price <= o.weight OR e.flag',
    ]);
  }

  #joinAggregate(fromWhere: string, seesRight: boolean): Body {
    const key = seesRight ? this.random.pick(['o."group"', 'o.id', 'o.score', 'e.flag']) : this.random.pick(['e.flag', 'e.place']);
    const aggregates = this.random.pickSome(
      [...this.#aggregates(this.#events, 'e.'), ...(seesRight ? this.#aggregates(this.#places, 'o.') : [])],
      1,
      3,
    );
    return { sql: `SELECT ${aliased([key, ...aggregates])} ${fromWhere} GROUP BY ${key}` };
  }

  #selfJoined(): Body {
    const on = this.random.pick([
      'a.id = b.id AND a.seq < b.seq',
      'a.id = b.id AND a."timestamp" <> b."timestamp"',
      'a.seq = b.seq + 1',
      'a.big = b.big AND a.n = b.n AND a.seq < b.seq',
      'a.place = b.place AND a."timestamp" = b."timestamp" AND a.seq <> b.seq',
    ]);
    const using = this.random.chance(0.2);
    const from = using ? 'FROM events a JOIN events b USING (id, "timestamp")' : `FROM events a JOIN events b ON ${on}`;
    const where = this.random.chance(0.5) ? ` WHERE ${this.#predicates.predicate(this.#events, this.random.pick(['a.', 'b.']), 1)}` : '';
    if (this.random.chance(0.3)) return { sql: `SELECT count(*) AS c0, sum(a.n) AS c1, max(b.seq) AS c2 ${from}${where}` };
    return {
      sql: `SELECT a.seq AS s1, b.seq AS s2, a.name AS n1, b.name AS n2 ${from}${where} ORDER BY 1, 2 LIMIT 300`,
      isOrdered: true,
    };
  }

  #commonTable(): Body {
    const inner = `SELECT seq, id, n, price, name, place FROM events${this.#where(this.#events, '')}`;
    return this.random.pick<() => Body>([
      () => ({ sql: `WITH chosen AS (${inner}) SELECT count(*) AS c0, sum(n) AS c1, min(name) AS c2 FROM chosen` }),
      () => ({
        sql: `WITH chosen AS MATERIALIZED (${inner}) SELECT a.seq AS s, b.n AS n FROM chosen a JOIN chosen b USING (seq)`,
      }),
      () => ({ sql: `WITH "order" AS (${inner}) SELECT seq, name FROM "order" WHERE n > 10` }),
      () => ({
        sql: `WITH events AS (SELECT id, score FROM "order") SELECT count(*) AS c0, sum(score) AS c1 FROM events`,
      }),
      () => ({
        sql: `WITH a AS (${inner}), b AS (SELECT place, count(*) AS c FROM a GROUP BY place) SELECT o.id AS id, b.c AS c FROM "order" o LEFT JOIN b ON b.place = o.id`,
      }),
      () => ({
        sql: `WITH RECURSIVE steps(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM steps WHERE k < 12) SELECT k, count(e.seq) AS c FROM steps LEFT JOIN events e ON e.n = k GROUP BY k`,
      }),
      () => ({
        sql: `WITH per_id AS (SELECT id, max("timestamp") AS newest FROM events GROUP BY id) SELECT e.seq AS seq FROM events e JOIN per_id p ON e.id = p.id AND e."timestamp" = p.newest`,
      }),
    ])();
  }

  #subquery(): Body {
    const places = this.#predicates.predicate(this.#places, '', 1);
    const event = this.#predicates.predicate(this.#events, '', 1);
    return this.random.pick<() => Body>([
      () => ({ sql: `SELECT seq, name FROM events WHERE place IN (SELECT id FROM "order" WHERE ${places})` }),
      () => ({ sql: `SELECT seq FROM events WHERE place NOT IN (SELECT id FROM "order" WHERE ${places})` }),
      () => ({ sql: `SELECT seq FROM events WHERE n NOT IN (SELECT score FROM "order")` }),
      () => ({
        sql: `SELECT count(*) AS c FROM events e WHERE EXISTS (SELECT 1 FROM "order" o WHERE o.id = e.place AND o.score > e.n)`,
      }),
      () => ({
        sql: `SELECT seq FROM events e WHERE NOT EXISTS (SELECT 1 FROM "order" WHERE id = e.place) AND ${this.#predicates.predicate(this.#events, 'e.', 1)}`,
      }),
      () => ({
        sql: `SELECT o.id AS id, (SELECT count(*) FROM events e WHERE e.place = o.id) AS c, (SELECT max(e.price) FROM events e WHERE e.place = o.id AND e.flag) AS m FROM "order" o`,
      }),
      () => ({ sql: `SELECT seq, n FROM events WHERE n > (SELECT avg(n) FROM events WHERE ${event})` }),
      () => ({
        sql: `SELECT d, count(*) AS c FROM (SELECT "timestamp"::DATE AS d, n FROM events WHERE ${event}) AS days WHERE n IS NOT NULL GROUP BY d`,
      }),
      () => ({
        sql: `SELECT o.id AS id, x.c AS c, x.s AS s FROM "order" o, LATERAL (SELECT count(*) AS c, sum(e.n) AS s FROM events e WHERE e.place = o.id) x`,
      }),
      () => ({ sql: `SELECT seq FROM events WHERE big = ANY (SELECT big FROM events WHERE ${event})` }),
      () => ({ sql: `SELECT seq FROM events WHERE (place, n) IN (SELECT id, score FROM "order")` }),
      () => ({ sql: `SELECT seq FROM events WHERE price > ALL (SELECT weight FROM "order" WHERE ${places})` }),
      () => ({
        sql: `SELECT seq FROM events ORDER BY (SELECT score FROM "order" o WHERE o.id = place), seq LIMIT (SELECT count(*) FROM "order" WHERE ${places})`,
        isOrdered: true,
      }),
    ])();
  }

  /** A name that means one thing to the engine, and another to whoever reads the WHERE clause without care. */
  #ambiguousNames(): Body {
    const name = this.random.pick(['n', 'seq', 'price', 'late', 'timestamp', 'name']);
    const column = quoted(name);
    const other = name === 'name' ? `${column} || 'z'` : name === 'timestamp' ? `${column} + INTERVAL 3 DAY` : `-${column}`;
    const where = this.#predicates.comparisonWith(this.#events, name);
    return this.random.pick<() => Body>([
      () => ({ sql: `SELECT seq AS s, ${other} AS ${column} FROM events WHERE ${where}` }),
      ...Array.from({ length: 4 }, () => () => ({
        sql: `WITH events AS (SELECT seq AS s, ${other} AS ${column} FROM events) SELECT s FROM events WHERE ${where}`,
      })),
      () => ({ sql: `SELECT s FROM (SELECT seq AS s, ${other} AS ${column} FROM events) events WHERE ${where}` }),
      () => ({ sql: `SELECT seq, (SELECT count(*) FROM events) AS c FROM events WHERE ${where}` }),
      () => ({ sql: `SELECT count(*) AS c FROM events WHERE ${where} AND id IN (SELECT id FROM events WHERE flag)` }),
      () => ({ sql: `SELECT seq FROM events WHERE ${where} UNION ALL SELECT count(*) FROM events` }),
      () => ({ sql: `SELECT events.seq FROM "order" events(seq) WHERE length(events.seq) > 1` }),
      () => ({
        sql: `SELECT count(*) AS c FROM events a, events b WHERE a.seq = b.seq + 1 AND ${where.replaceAll(column, `a.${column}`)}`,
      }),
      () => ({
        sql: `SELECT e.seq FROM events e LEFT JOIN events o ON e.seq = o.seq AND ${where.replaceAll(column, `o.${column}`)} WHERE o.seq IS NULL`,
      }),
    ])();
  }

  #window(): Body {
    const partition = this.random.pick([
      'PARTITION BY place ',
      'PARTITION BY flag ',
      'PARTITION BY id ',
      '',
      'PARTITION BY date_trunc(\'day\', "timestamp") ',
    ]);
    const order = `ORDER BY ${this.random.pick(['', 'n, ', '"timestamp" DESC, ', 'name NULLS FIRST, '])}seq`;
    const frame = this.random.pick(['', ' ROWS BETWEEN 3 PRECEDING AND CURRENT ROW', ' ROWS BETWEEN UNBOUNDED PRECEDING AND 1 FOLLOWING']);
    const functions = this.random.pickSome(
      [
        `row_number() OVER (${partition}${order})`,
        `rank() OVER (${partition}ORDER BY n)`,
        `dense_rank() OVER (${partition}ORDER BY price DESC)`,
        `ntile(4) OVER (${partition}${order})`,
        `lag(n) OVER (${partition}${order})`,
        `lead(name, 2, 'none') OVER (${partition}${order})`,
        `sum(n) OVER (${partition}${order}${frame})`,
        `sum(price) OVER (${partition}${order}${frame})`,
        `count(*) OVER (${partition}${order}${frame})`,
        `first_value(big) OVER (${partition}${order}${frame})`,
        `last_value(name IGNORE NULLS) OVER (${partition}${order}${frame})`,
        `max(price) OVER (${partition.trim()})`,
        `sum(n) OVER (ORDER BY "timestamp" RANGE BETWEEN INTERVAL 1 DAY PRECEDING AND CURRENT ROW)`,
        `count(*) FILTER (WHERE flag) OVER (${partition.trim()})`,
      ],
      1,
      2,
    );
    const qualify = this.random.chance(0.5) ? ` QUALIFY row_number() OVER (${partition}${order}) <= ${this.random.integer(1, 6)}` : '';
    const sql = `SELECT ${aliased(['seq', ...functions])} FROM events${this.#where(this.#events, '')}${qualify}`;
    return this.#maybeLimited(sql, 'seq');
  }

  #setOperation(): Body {
    const operator = this.random.pick([
      'UNION',
      'UNION ALL',
      'EXCEPT',
      'EXCEPT ALL',
      'INTERSECT',
      'INTERSECT ALL',
      'UNION BY NAME',
      'UNION ALL BY NAME',
    ]);
    const columns = this.random.pick([['n', 'flag'], ['place', 'n'], ['name'], ['"timestamp"::DATE AS d', 'flag'], ['big', 'late']]);
    const second = operator.endsWith('BY NAME') ? [...columns].reverse() : columns;
    const third = this.random.chance(0.3) ? ` UNION ALL SELECT ${columns.join(', ')} FROM events WHERE seq < 20` : '';
    const sql = `SELECT ${columns.join(', ')} FROM events${this.#where(this.#events, '')} ${operator} SELECT ${second.join(', ')} FROM events${this.#where(this.#events, '')}${third}`;
    if (this.random.chance(0.4)) return { sql: `SELECT count(*) AS c0 FROM (${sql})` };
    return this.random.chance(0.3) ? { sql: `SELECT * FROM (${sql}) ORDER BY ALL${this.#limit()}`, isOrdered: true } : { sql };
  }

  #caseAndCast(): Body {
    const predicate = this.#predicates.predicate(this.#events, '', 1);
    const expressions = this.random.pickSome(
      [
        `CASE WHEN ${predicate} THEN 'yes' WHEN flag THEN 'flag' ELSE name END`,
        `CASE n WHEN 1 THEN price WHEN 2 THEN -price END`,
        'try_cast(name AS BIGINT)',
        'try_cast(name AS DOUBLE)',
        'try_cast(name AS BOOLEAN)',
        'CAST(n AS VARCHAR)',
        'big::VARCHAR',
        'big::HUGEINT + 1',
        'big::DOUBLE',
        'price::DECIMAL(18, 3)',
        'n::DECIMAL(10, 2) / 3',
        'CAST(flag AS INTEGER)',
        'round(price)::BIGINT',
        'CAST("timestamp" AS DATE)',
        'CAST("timestamp" AS TIMESTAMP)',
        'CAST("timestamp" AS VARCHAR)',
        'doc::VARCHAR',
        'coalesce(late, n, 0)',
        "nullif(name, '')",
        'n % 7',
        'n // 3',
        'n / 4',
        'big % 1000',
        'greatest(n, late)',
        'least(price, n)',
        'if(flag, n, late)',
        'n IN (1, 2, NULL)',
        `(${predicate})`,
        'extreme > 0',
        'hash(id) % 10 = 3',
      ],
      1,
      4,
    );
    return this.#maybeLimited(`SELECT ${aliased(['seq', ...expressions])} FROM events${this.#where(this.#events, '')}`, 'seq');
  }

  #groupingSets(): Body {
    const keys = this.random.pick([
      'GROUPING SETS ((place), (flag), ())',
      'ROLLUP (flag, place)',
      'CUBE (flag, n)',
      'GROUPING SETS ((flag, n), (n))',
    ]);
    const columns = ['flag', 'place', 'n'].filter((column) => keys.includes(column));
    const sql = `SELECT ${aliased([...columns, 'count(*)', 'sum(price)', `grouping(${columns.join(', ')})`])} FROM events${this.#where(this.#events, '')} GROUP BY ${keys}`;
    return { sql };
  }

  #json(): Body {
    const expressions = this.random.pickSome(
      [
        "doc->>'$.a'",
        "doc->'$.b'",
        "doc->'$.c.d'",
        "json_extract_string(doc, '$.b')",
        'json_type(doc)',
        'json_array_length(doc)',
        "json_exists(doc, '$.c')",
        'doc',
        'doc->>0',
        "(doc->>'$.a')::BIGINT + 1",
      ],
      1,
      4,
    );
    if (this.random.chance(0.3)) {
      return { sql: `SELECT doc->>'$.a' AS a, count(*) AS c FROM events WHERE json_type(doc) = 'OBJECT' GROUP BY 1` };
    }
    const where = this.random.pick([
      "(doc->>'$.a') = '7'",
      "json_type(doc) = 'ARRAY'",
      'doc IS NULL',
      'doc IS NOT NULL',
      "(doc->>'$.a')::BIGINT > 10",
      this.#predicates.predicate(this.#events, '', 2),
    ]);
    return this.#maybeLimited(`SELECT ${aliased(['seq', ...expressions])} FROM events WHERE ${where}`, 'seq');
  }

  #lists(): Body {
    const where = this.#where(this.#events, '');
    return this.random.pick<() => Body>([
      () => ({ sql: `SELECT place, list(n ORDER BY seq) AS l FROM events${where} GROUP BY place` }),
      () => ({ sql: `SELECT n, string_agg(name, '|' ORDER BY seq) AS s FROM events${where} GROUP BY n` }),
      () => ({ sql: `SELECT flag, list_sort(list(DISTINCT place)) AS l FROM events${where} GROUP BY flag` }),
      () => ({
        sql: `SELECT place, list_transform(list(n ORDER BY seq), lambda x : x * 2) AS l FROM events${where} GROUP BY place`,
      }),
      () => ({
        sql: `SELECT flag, arg_max(name, seq) AS a, arg_min(big, seq) AS b, first(price ORDER BY seq) AS f FROM events${where} GROUP BY flag`,
      }),
      () => ({
        sql: `SELECT place, [x + 1 FOR x IN list(n ORDER BY seq) IF x > 5] AS l FROM events${where} GROUP BY place`,
      }),
      () => ({ sql: `SELECT seq, unnest([n, late]) AS u FROM events WHERE seq % 10 = 1` }),
      () => ({
        sql: `SELECT place, {'low': min(n), 'high': max(big), 'names': count(DISTINCT name)} AS s FROM events${where} GROUP BY place`,
      }),
      () => ({ sql: `SELECT histogram(n) AS h FROM events${where}` }),
    ])();
  }

  #pivot(): Body {
    return this.random.pick<() => Body>([
      () => ({ sql: `PIVOT events ON flag IN (true, false) USING count(*) AS c, sum(n) AS s GROUP BY place` }),
      () => ({
        sql: `SELECT * FROM (PIVOT (SELECT place, n, flag FROM events${this.#where(this.#events, '')}) ON n IN (1, 2, 3) USING count(*) GROUP BY place)`,
      }),
      () => ({
        sql: `UNPIVOT (SELECT seq, n, big FROM events${this.#where(this.#events, '')}) ON n, big INTO NAME k VALUE v`,
      }),
      () => ({
        sql: `FROM (SELECT seq, n, late FROM events) UNPIVOT INCLUDE NULLS (v FOR k IN (n, late)) WHERE seq % 9 = 2`,
      }),
    ])();
  }

  #starModifiers(): Body {
    const select = this.random.pick([
      '* EXCLUDE (doc, name)',
      '* REPLACE (n + 1 AS n)',
      "COLUMNS('^(seq|n|price)$')",
      '* RENAME (n AS number)',
      'e.* EXCLUDE (big)',
      '*, n * 2 AS doubled',
    ]);
    return {
      sql: `SELECT ${select} FROM events e WHERE ${this.#predicates.predicate(this.#events, 'e.', 1)} ORDER BY seq LIMIT 40`,
      isOrdered: true,
    };
  }

  /** Wrong for every state of the tables: refused by both sides, at bind time or on any row. */
  #wrong(): Body {
    return {
      sql: this.random.pick([
        'SELECT nothing FROM events',
        'SELECT seq FROM events WHERE no_such_function(n) = 1',
        'SELECT place, n FROM events GROUP BY place',
        'SELECT sum(name) FROM events',
        "SELECT CAST(name || 'x' AS BIGINT) FROM events",
        'SELECT FROM WHERE',
        'SELECT big * 9223372036854775807 FROM events WHERE big > 9007199254740990',
        'SELECT seq FROM events UNION SELECT seq, n FROM events',
        'SELECT seq FROM events WHERE flag = 5.5.5',
        'SELECT (SELECT id, n FROM events) FROM events',
        'SELECT a.seq FROM events a JOIN events b ON a.id = b.id WHERE seq = 1',
        'SELECT date_trunc(\'fortnight\', "timestamp") FROM events',
        'SELECT * FROM events ORDER BY 99',
      ]),
    };
  }

  // ---- pieces -------------------------------------------------------------------------------------------------------

  #source(): QuerySource {
    return this.random.chance(0.85) ? this.#events : this.#places;
  }

  #where(source: QuerySource, prefix: string): string {
    return this.random.chance(0.75) ? ` WHERE ${this.#predicates.predicate(source, prefix, PREDICATE_DEPTH_MAX)}` : '';
  }

  #maybeLimited(select: string, uniqueColumn: string): Body {
    if (this.random.chance(0.2)) return { sql: select };
    if (this.random.chance(0.2)) return { sql: `SELECT count(*) AS c FROM (${select})` };
    return { sql: `${select} ORDER BY ${uniqueColumn} ${this.#direction()}${this.#limit()}`, isOrdered: true };
  }

  #limit(): string {
    const offset = this.random.chance(0.3) ? ` OFFSET ${this.random.integer(0, 50)}` : '';
    return ` LIMIT ${this.random.integer(0, 120)}${offset}`;
  }

  #direction(): string {
    return this.random.pick(['', 'ASC', 'DESC', 'ASC NULLS FIRST', 'DESC NULLS LAST']);
  }

  #having(source: QuerySource): string {
    const column = source.isEvents ? 'n' : 'score';
    return this.random.pick([
      'count(*) > 2',
      `sum(${column}) > 20`,
      `max(${column}) IS NULL`,
      `count(${column}) BETWEEN 1 AND 5`,
      `min(${column}) < 0 OR count(*) = 1`,
    ]);
  }

  #aggregates(source: QuerySource, prefix: string): string[] {
    return aggregates(source, prefix, this.#predicates.predicate(source, prefix, 1));
  }
}

function aliased(expressions: readonly string[]): string {
  return expressions.map((expression, index) => `${expression} AS c${index}`).join(', ');
}
