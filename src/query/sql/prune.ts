/**
 * Which data files a query may leave unopened, from the WHERE clause and the files' statistics. Conservative by contract: only plain comparisons of
 * a column with a constant, joined by AND at the top of a query over one table, count; whatever is not surely known keeps the file. So the answer
 * with pruning is the answer without.
 */
import { boundsOf, type Utf8Bounds } from '../../delta/file-bounds.js';
import type { DataFile } from '../../delta/snapshot.js';
import type { Column, TableSchema } from '../../delta/table-schema.js';
import { columnName, type Node } from './syntax-tree.js';

type Operator = '=' | '<' | '<=' | '>' | '>=';

/** `column operator value`, true for every row of the result. */
export interface Condition {
  readonly column: string;
  readonly operator: Operator;
  readonly value: Constant;
}

/** A constant of a statement: a time is a text that was cast to one, which compares otherwise than the text. */
type Constant = { readonly kind: 'text' | 'time'; readonly text: string } | { readonly kind: 'integer'; readonly integer: number };

const OPERATORS: Readonly<Record<string, Operator>> = {
  COMPARE_EQUAL: '=',
  COMPARE_LESSTHAN: '<',
  COMPARE_LESSTHANOREQUALTO: '<=',
  COMPARE_GREATERTHAN: '>',
  COMPARE_GREATERTHANOREQUALTO: '>=',
};
const MIRRORED: Readonly<Record<Operator, Operator>> = { '=': '=', '<': '>', '<=': '>=', '>': '<', '>=': '<=' };
const INSTANT = /^\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|\+00(?::00)?)?)?$/;
/** Statistics of times are rounded to milliseconds. */
const TIME_TOLERANCE_MS = 1;
const DATE_LENGTH = 10;

/** The conditions of a SELECT over one plain table; none for any other query. */
export function conditionsOf(select: Node): Condition[] {
  const from = select['from_table'] as Node | null;
  // With a WITH clause, the name may be another thing than the table.
  const definesNames = ((select['cte_map'] as { map?: readonly unknown[] } | undefined)?.map ?? []).length > 0;
  const isPlain = select['type'] === 'SELECT_NODE' && from?.['type'] === 'BASE_TABLE' && !from['sample'] && !definesNames;
  if (!isPlain || (from['column_name_alias'] as unknown[] | undefined)?.length) return [];
  const names = [from['alias'], from['table_name']].filter(Boolean).map((name) => String(name).toLowerCase());
  return conjuncts(select['where_clause'] as Node | null).flatMap((node) => conditionsIn(node, names));
}

function conjuncts(node: Node | null): Node[] {
  if (!node) return [];
  return node['type'] === 'CONJUNCTION_AND' ? (node['children'] as Node[]).flatMap(conjuncts) : [node];
}

function conditionsIn(node: Node, tableNames: readonly string[]): Condition[] {
  if (node['type'] === 'COMPARE_BETWEEN') {
    const lower = comparison(node['input'], '>=', node['lower'], tableNames);
    const upper = comparison(node['input'], '<=', node['upper'], tableNames);
    return [...lower, ...upper];
  }
  const operator = OPERATORS[String(node['type'])];
  if (node['class'] !== 'COMPARISON' || !operator) return [];
  const asWritten = comparison(node['left'], operator, node['right'], tableNames);
  return asWritten.length > 0 ? asWritten : comparison(node['right'], MIRRORED[operator], node['left'], tableNames);
}

function comparison(left: unknown, operator: Operator, right: unknown, tableNames: readonly string[]): Condition[] {
  const column = columnName(left as Node, tableNames);
  const value = constant(right as Node);
  return column === undefined || value === undefined ? [] : [{ column, operator, value }];
}

/** A text, an integer that `number` holds exactly, or a text cast once to a time in a form that the cast does not cut. */
function constant(node: Node): Constant | undefined {
  if (node['class'] === 'CAST') return timeConstant(String((node['cast_type'] as Node)['id']), node['child'] as Node);
  if (node['class'] !== 'CONSTANT') return undefined;
  const { type, value } = node['value'] as { type: { id: string }; value: unknown };
  if (type.id === 'VARCHAR' && typeof value === 'string') return { kind: 'text', text: value };
  const isInteger = ['TINYINT', 'SMALLINT', 'INTEGER', 'BIGINT'].includes(type.id) && Number.isSafeInteger(value);
  return isInteger ? { kind: 'integer', integer: value as number } : undefined;
}

function timeConstant(castType: string, child: Node): Constant | undefined {
  const inner = child['class'] === 'CONSTANT' ? constant(child) : undefined;
  if (inner?.kind !== 'text') return undefined;
  const isWhole = castType === 'DATE' ? inner.text.length === DATE_LENGTH : /^TIMESTAMP( WITH TIME ZONE)?$/.test(castType);
  return isWhole ? { kind: 'time', text: inner.text } : undefined;
}

/** @returns a test that is false only for files in which no row surely fulfils all conditions */
export function mayHoldMatches(conditions: readonly Condition[], schema: TableSchema): (file: DataFile) => boolean {
  const known = conditions.flatMap((condition) => {
    const column = schema.column(condition.column);
    return column ? [{ ...condition, column }] : [];
  });
  return (file) => known.every(({ column, operator, value }) => mayFulfil(file, column, operator, value));
}

function mayFulfil(file: DataFile, column: Column, operator: Operator, value: Constant): boolean {
  const range = rangeOf(file, column, value);
  if (!range) return true;
  const { belowMin, aboveMax, atMin, atMax } = range;
  switch (operator) {
    case '=':
      return !belowMin && !aboveMax;
    case '<':
      return !belowMin && !atMin;
    case '<=':
      return !belowMin;
    case '>':
      return !aboveMax && !atMax;
    case '>=':
      return !aboveMax;
  }
}

/** Where a value stands against the bounds of a column. */
interface Standing {
  readonly belowMin: boolean;
  readonly aboveMax: boolean;
  readonly atMin: boolean;
  readonly atMax: boolean;
}

function rangeOf(file: DataFile, column: Column, value: Constant): Standing | undefined {
  if (value.kind === 'integer') return isNumeric(column) ? numericStanding(file, column, value.integer) : undefined;
  const isComparable = column.type === 'TIMESTAMPTZ' || (column.type === 'VARCHAR' && value.kind === 'text');
  if (!isComparable) return undefined;
  const { min, max, utf8 } = boundsOf(file, column.name);
  if (!utf8) return undefined;
  return column.type === 'VARCHAR' ? textStanding(utf8, value.text) : timeStanding(String(min), String(max), value.text);
}

function isNumeric({ type }: Column): boolean {
  return type === 'BIGINT' || type === 'INTEGER' || type === 'DOUBLE';
}

function numericStanding(file: DataFile, column: Column, value: number): Standing | undefined {
  const { min, max } = boundsOf(file, column.name);
  // Beyond 2^53 the bounds were rounded when the text was read.
  if (typeof min !== 'number' || typeof max !== 'number' || Math.max(Math.abs(min), Math.abs(max)) >= Number.MAX_SAFE_INTEGER)
    return undefined;
  return { belowMin: value < min, aboveMax: value > max, atMin: value === min, atMax: value === max };
}

/** By UTF-8, the order of the engine. */
function textStanding({ min, max }: Utf8Bounds, value: string): Standing {
  const bytes = Buffer.from(value);
  const toMin = Buffer.compare(bytes, min);
  const toMax = Buffer.compare(bytes, max);
  // Long bounds are cut, so being equal to one says nothing.
  return { belowMin: toMin < 0, aboveMax: toMax > 0, atMin: false, atMax: false };
}

function timeStanding(min: string, max: string, value: string): Standing | undefined {
  if (!INSTANT.test(value)) return undefined;
  const ms = Date.parse(
    value.length === DATE_LENGTH ? `${value}T00:00:00Z` : `${value.slice(0, 10)}T${value.slice(11).replace(/(Z|\+00(:00)?)?$/, 'Z')}`,
  );
  if (Number.isNaN(ms)) return undefined;
  return {
    belowMin: ms + TIME_TOLERANCE_MS < Date.parse(min),
    aboveMax: ms - TIME_TOLERANCE_MS > Date.parse(max),
    atMin: false,
    atMax: false,
  };
}
