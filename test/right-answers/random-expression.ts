/** The expressions that queries group by, aggregate and select, for either table. `prefix` is empty or an alias with its dot. */
import { quoted } from './expected-table.js';
import { type QuerySource } from './query-source.js';

const INTEGER_COLUMNS = ['seq', 'n', 'big', 'late', 'score'];
/** Doubles that add up exactly, whatever the order. */
const EXACT_DOUBLES = ['price', 'weight'];

export function groupKeys(source: QuerySource, prefix: string): string[] {
  if (!source.isEvents) return [`${prefix}"group"`, `${prefix}score`, `${prefix}score % 3`, `${prefix}id`];
  const late = source.columns.filter(({ name }) => name.startsWith('late')).map(({ name }) => prefix + name);
  return [
    ...['n', 'flag', 'place', 'name', 'big', 'price', 'extreme'].map((column) => prefix + column),
    ...late,
    `date_trunc('day', ${prefix}"timestamp")`,
    `CAST(${prefix}"timestamp" AS DATE)`,
    `extract(hour FROM ${prefix}"timestamp")`,
    `strftime(${prefix}"timestamp", '%Y-%m')`,
    `time_bucket(INTERVAL '6 hours', ${prefix}"timestamp")`,
    `${prefix}n % 5`,
    `lower(${prefix}name)`,
    `${prefix}id`,
  ];
}

export function aggregates(source: QuerySource, prefix: string, condition: string): string[] {
  const unique = prefix + source.uniqueColumn;
  const general = source.columns.flatMap(({ name, kind }) => {
    const column = prefix + quoted(name);
    const counts = [`count(${column})`, `count(DISTINCT ${column})`];
    if (kind === 'JSON') return counts.slice(0, 1);
    const extremes = [`min(${column})`, `max(${column})`];
    if (kind === 'BOOLEAN') return [...counts, `bool_and(${column})`, `bool_or(${column})`];
    if (INTEGER_COLUMNS.includes(name))
      return [...counts, ...extremes, `sum(${column})`, `avg(${column})`, `median(${column})`, `quantile_disc(${column}, 0.25)`];
    return EXACT_DOUBLES.includes(name) ? [...counts, ...extremes, `sum(${column})`, `avg(${column})`] : [...counts, ...extremes];
  });
  return [
    ...general,
    'count(*)',
    'count(*)',
    `count(*) FILTER (WHERE ${condition})`,
    `arg_max(${unique}, ${unique})`,
    `max(length(${prefix}id))`,
  ];
}

export function scalars(source: QuerySource, prefix: string): string[] {
  const columns = source.columns.map(({ name }) => prefix + quoted(name));
  const timestamp = `${prefix}"timestamp"`;
  const general = [
    ...columns,
    ...columns,
    `epoch_ms(${timestamp})`,
    `${timestamp} + INTERVAL 1 HOUR`,
    `date_trunc('hour', ${timestamp})`,
    `upper(${prefix}id)`,
    `1`,
  ];
  if (!source.isEvents) return [...general, `${prefix}score * 2`, `${prefix}weight / 4`, `json_array_length(${prefix}tags)`];
  return [
    ...general,
    `${prefix}n + 1`,
    `-${prefix}price`,
    `${prefix}price * 2`,
    `length(${prefix}name)`,
    `${prefix}name || '!'`,
    `substr(${prefix}name, 1, 3)`,
    `replace(${prefix}name, 'a', 'b')`,
    `${prefix}name LIKE '%a%'`,
    `${prefix}flag AND ${prefix}n > 3`,
    `${prefix}n IS NULL`,
    `abs(${prefix}n)`,
    `${prefix}ratio > ${prefix}price`,
  ];
}
